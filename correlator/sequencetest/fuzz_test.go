package sequencetest_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/portcullis-dev/portcullis/correlator/sequencetest"
)

// FuzzScript: whatever is written, it is refused with a line or can be played; and
// a script that was rewritten holds, and is not rewritten again.
func FuzzScript(f *testing.F) {
	files, err := filepath.Glob("testdata/*.script")
	if err != nil || len(files) == 0 {
		f.Fatalf("find scripts: %v, %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		fields, _, _ := strings.Cut(string(text), "\ntest ")
		for i, test := range strings.Split(string(text), "\ntest ")[1:] {
			if i%4 == 0 { // short ones, a few of each file
				f.Add(fields + "\ntest " + test)
			}
		}
	}
	f.Add(small)
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 4096 || strings.Contains(text, "runs") && strings.Contains(text, "00") {
			return
		}
		s, err := sequencetest.Parse(text)
		if err != nil {
			return
		}
		rewritten := s.Rewrite(sequencetest.Portcullis)
		again, err := sequencetest.Parse(rewritten)
		if err != nil {
			t.Fatalf("%s\nis rewritten to\n%s\nwhich is no script: %v", text, rewritten, err)
		}
		for i := range again.Tests {
			again.Tests[i].InThisOrder = true // others are the business of FuzzSequences
			if failures := again.Failures(&again.Tests[i], sequencetest.Portcullis); len(failures) > 0 {
				t.Fatalf("%s\nis rewritten to\n%s\nwhich does not hold: %v", text, rewritten, failures)
			}
		}
		if diff := gocmp.Diff(rewritten, again.Rewrite(sequencetest.Portcullis)); diff != "" {
			t.Fatalf("%s\nis rewritten twice:\n%s", text, diff)
		}
	})
}

// FuzzSequences: sequences of any shape over any events, arriving in any order, end
// as the reference says.
func FuzzSequences(f *testing.F) {
	for _, seed := range []string{"\x00\x01\x02", "\x01\x08\x41\x02\x03\x01\x01\x02\x02\x02\x04\x03\x03", "abcdefghijklmnopqrstuvwxyz", "\x02\x11\x22\x83\x01\x05\x09 1 2 3 4 5 6 7 8 9"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		text := scriptOf(data)
		s, err := sequencetest.Parse(text)
		if err != nil {
			t.Fatalf("%s\n%v", text, err)
		}
		test := s.Tests[0]
		if _, err := sequencetest.Portcullis(test.Query, s.Schema, s.MaxSpan); err != nil {
			return // nothing but missing events, and the like
		}
		want := newReference(t, test.Query, s.Schema, s.MaxSpan).matches(test.Events())
		r := rand.New(rand.NewPCG(uint64(len(data)), 1))
		for order := range 3 {
			events := test.Events()
			if order > 0 {
				r.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
			}
			engine, err := sequencetest.Portcullis(test.Query, s.Schema, s.MaxSpan)
			if err != nil {
				t.Fatal(err)
			}
			if got := sequencetest.Left(engine, events); !slices.Equal(got, want) {
				t.Fatalf("%s\nthe reference finds %q, the engine %q in the order %v", text, want, got, events)
			}
		}
	})
}

// TestRandomSequences does it for many, without being told by a fuzzer which.
func TestRandomSequences(t *testing.T) {
	matches, runs := 0, 0
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 7))
		data := make([]byte, 8+r.IntN(60))
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		s, err := sequencetest.Parse(scriptOf(data))
		if err != nil {
			t.Fatal(err)
		}
		test := s.Tests[0]
		engine, err := sequencetest.Portcullis(test.Query, s.Schema, s.MaxSpan)
		if err != nil {
			continue
		}
		runs++
		want := newReference(t, test.Query, s.Schema, s.MaxSpan).matches(test.Events())
		got := sequencetest.Left(engine, test.Events())
		if diff := gocmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%s\nreference (-) and engine (+) differ:\n%s", scriptOf(data), diff)
		}
		matches += len(got)
	}
	if runs < 2000 || matches < 2000 {
		t.Errorf("only %d sequences and %d matches", runs, matches)
	}
}

// scriptOf makes a script of bytes: what they say is the shape of a sequence and
// events that have what the sequence asks for, many at the same times.
func scriptOf(data []byte) string {
	next := func() int {
		if len(data) == 0 {
			return 0
		}
		b := data[0]
		data = data[1:]
		return int(b)
	}
	letter := func(n int) string { return string(rune('a' + n%4)) }
	var b strings.Builder
	b.WriteString("field tag text many\nfield host text\nfield group text many\nfield pod reference\n\ntest x\n")
	fmt.Fprintf(&b, "  sequence%s with maxspan=%ds\n", []string{"", " by host", " by ?host", " by group", " by pod", " by host, ?group"}[next()%6], 1+next()%12)
	for range 2 + next()%3 {
		n := next()
		missing, runs := "", ""
		if n&0x1c == 0x1c {
			missing = "!"
		} else if n&0xe0 == 0xe0 {
			runs = " with runs=2"
		}
		fmt.Fprintf(&b, "    %s[any where tag == %q]%s\n", missing, letter(n), runs)
	}
	if n := next(); n&0xc == 0xc {
		fmt.Fprintf(&b, "  until [any where tag == %q]\n", letter(n))
	}
	for i := 0; i < 14 && len(data) > 0; i++ {
		at, tags, keys := next(), next(), next()
		name := fmt.Sprintf("%s%d", letter(keys>>6), i)
		if at&0xc0 == 0xc0 {
			name = fmt.Sprintf("r%d/%s", at%3, name)
		}
		fmt.Fprintf(&b, "%v %s tag %q", time.Duration(at%16)*time.Second, name, letter(tags))
		for bit := range 4 {
			if tags&(4<<bit) != 0 && bit != tags%4 {
				fmt.Fprintf(&b, " %q", letter(bit))
			}
		}
		if keys&3 > 0 {
			fmt.Fprintf(&b, ", host %q, pod ref \"pod\" %q", letter(keys), letter(keys>>2))
		}
		if keys&12 > 0 {
			fmt.Fprintf(&b, ", group %q %q", letter(keys>>2), letter(keys>>4))
		}
		b.WriteString("\n")
	}
	return b.String()
}
