package jetstream

import (
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/s2"

	"github.com/portcullis-dev/portcullis/bus"
	"github.com/portcullis-dev/portcullis/event"
)

func newTestCodec(tb testing.TB) *codec {
	tb.Helper()
	c, err := newCodec()
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// filler sets every field there is to something, so that none can be forgotten.
type filler struct {
	tb   testing.TB
	rand *rand.Rand
	// full leaves nothing empty; otherwise lists, maps and pointers may be.
	full bool
}

func (f *filler) fill(v reflect.Value) {
	f.tb.Helper()
	switch v.Kind() {
	case reflect.String:
		v.SetString(f.text())
	case reflect.Bool:
		v.SetBool(f.full || f.rand.IntN(2) == 0)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(f.rand.Int64()>>(64-v.Type().Bits()) | 1)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(f.rand.Uint64()>>(64-v.Type().Bits()) | 1)
	case reflect.Array:
		for i := range v.Len() {
			f.fill(v.Index(i))
		}
	case reflect.Pointer:
		if f.some() {
			v.Set(reflect.New(v.Type().Elem()))
			f.fill(v.Elem())
		}
	case reflect.Slice:
		if f.some() {
			v.Set(reflect.MakeSlice(v.Type(), 1+f.rand.IntN(3), 4))
			for i := range v.Len() {
				f.fill(v.Index(i))
			}
		}
	case reflect.Map:
		if f.some() {
			v.Set(reflect.MakeMap(v.Type()))
			for range 1 + f.rand.IntN(3) {
				key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
				f.fill(key)
				f.fill(value)
				v.SetMapIndex(key, value)
			}
		}
	case reflect.Struct:
		f.fillStruct(v)
	default:
		f.tb.Fatalf("a %s cannot be stored: teach the codec and this test", v.Type())
	}
}

func (f *filler) fillStruct(v reflect.Value) {
	f.tb.Helper()
	if v.Type() == reflect.TypeFor[time.Time]() {
		v.Set(reflect.ValueOf(time.Unix(f.rand.Int64N(1<<34), f.rand.Int64N(1e9)).UTC()))
		return
	}
	for i := range v.NumField() {
		if field := v.Type().Field(i); !field.IsExported() {
			f.tb.Fatalf("%s.%s is not exported: it would not be stored", v.Type(), field.Name)
		}
		f.fill(v.Field(i))
	}
}

func (f *filler) some() bool { return f.full || f.rand.IntN(4) > 0 }

// text is any bytes: a command line need not be UTF-8.
func (f *filler) text() string {
	b := make([]byte, 1+f.rand.IntN(12))
	for i := range b {
		b[i] = byte(f.rand.UintN(256))
	}
	return string(b)
}

// generate makes candidates of which every field is set, if full.
func generate(tb testing.TB, seed uint64, full bool) []bus.Candidate {
	tb.Helper()
	f := &filler{tb: tb, rand: rand.New(rand.NewPCG(seed, 0)), full: full}
	events := make([]*event.Event, 1+f.rand.IntN(4))
	for i := range events {
		events[i] = &event.Event{}
		f.fill(reflect.ValueOf(events[i]).Elem())
	}
	candidates := make([]bus.Candidate, len(events)+f.rand.IntN(4))
	for i := range candidates {
		f.fillCandidate(&candidates[i])
		candidates[i].Event = events[f.rand.IntN(len(events))]
	}
	return candidates
}

func (f *filler) fillCandidate(c *bus.Candidate) {
	f.tb.Helper()
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		if v.Type().Field(i).Name != "Event" {
			f.fill(v.Field(i))
		}
	}
}

// TestCandidatesSurviveStorageWithEveryField fails when a field is added that storage would lose.
func TestCandidatesSurviveStorageWithEveryField(t *testing.T) {
	t.Parallel()
	c := newTestCodec(t)
	for seed := range uint64(500) {
		want := generate(t, seed, seed == 0)
		data, err := c.marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.unmarshal(data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("seed %d: %s", seed, diff)
		}
	}
}

// The buffers of one message are used for the next: nothing that was decoded may be in them.
func TestMessagesAreOnTheirOwn(t *testing.T) {
	t.Parallel()
	c := newTestCodec(t)
	const count = 50
	var want, got [count][]bus.Candidate
	var messages [count][]byte
	for i := range messages {
		want[i] = generate(t, uint64(i), true)
		var err error
		if messages[i], err = c.marshal(want[i]); err != nil {
			t.Fatal(err)
		}
	}
	for i, data := range messages {
		var err error
		if got[i], err = c.unmarshal(data); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSameCandidatesAreTheSameBytes(t *testing.T) {
	t.Parallel()
	c := newTestCodec(t)
	for seed := range uint64(50) {
		first, err := c.marshal(generate(t, seed, true))
		if err != nil {
			t.Fatal(err)
		}
		for range 4 { // The order of a map's entries is another each time.
			again, err := c.marshal(generate(t, seed, true))
			if err != nil {
				t.Fatal(err)
			}
			if string(first) != string(again) {
				t.Fatalf("seed %d: not the same bytes", seed)
			}
		}
	}
}

var update = flag.Bool("update", false, "write the golden message anew, after the version of the encoding was raised")

// TestMessagesStoredBeforeCanBeRead fails when a field that was stored has no place any more.
func TestMessagesStoredBeforeCanBeRead(t *testing.T) {
	t.Parallel()
	c := newTestCodec(t)
	name := filepath.Join("testdata", "message-1")
	if *update {
		data, err := c.marshal(generate(t, 1, true))
		if err != nil {
			t.Fatal(err)
		}
		if err = os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := s2.Decode(nil, data[1:])
	if err != nil {
		t.Fatal(err)
	}
	strict, err := cbor.DecOptions{
		UTF8: cbor.UTF8DecodeInvalid, ExtraReturnErrors: cbor.ExtraDecErrorUnknownField, FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
	}.DecMode()
	if err != nil {
		t.Fatal(err)
	}
	if err = strict.Unmarshal(plain, &message{}); err != nil {
		t.Errorf("what is stored in clusters cannot be read as it was meant: keep the field, or raise the version of the encoding and translate: %v", err)
	}
	if _, err = c.unmarshal(data); err != nil {
		t.Error(err)
	}
}

func TestHostileMessagesAreErrors(t *testing.T) {
	t.Parallel()
	c := newTestCodec(t)
	pack := func(v any) []byte {
		plain, err := cbor.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return append([]byte{encoding}, s2.Encode(nil, plain)...)
	}
	nested := any(1)
	for range 100 {
		nested = []any{nested}
	}
	for name, test := range map[string]struct {
		data []byte
		want string
	}{
		"empty":           {nil, "empty"},
		"another version": {[]byte{99}, "encoding 99, this version reads 1"},
		"no compression":  {[]byte{encoding, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, "decompress"},
		"a bomb":          {append([]byte{encoding}, s2.Encode(nil, make([]byte, maxDecoded+1))...), "at most"},
		"another shape":   {pack(map[string]int{"a": 1}), "decode"},
		"too deep":        {pack([]any{nested, nested}), "nested level"},
		"no such event":   {pack(message{Candidates: []stored{{Event: 1}}}), "names event 1"},
		"no event":        {pack(message{Events: []*event.Event{nil}, Candidates: []stored{{}}}), "names event 0"},
	} {
		got, err := c.unmarshal(test.data)
		if err == nil || !strings.Contains(err.Error(), test.want) || got != nil {
			t.Errorf("%s: %v, error is %v", name, got, err)
		}
	}
}

func FuzzUnmarshal(f *testing.F) {
	c := newTestCodec(f)
	for seed := range uint64(4) {
		data, err := c.marshal(generate(f, seed, false))
		if err != nil {
			f.Fatal(err)
		}
		plain, err := s2.Decode(nil, data[1:])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(plain)
	}
	f.Fuzz(func(t *testing.T, plain []byte) {
		candidates, err := c.unmarshal(append([]byte{encoding}, s2.Encode(nil, plain)...))
		if err != nil {
			if candidates != nil {
				t.Error("there is a result together with an error")
			}
			return
		}
		data, err := c.marshal(candidates)
		if err != nil {
			return // such as a year that RFC 3339 cannot say
		}
		again, err := c.unmarshal(data)
		if err != nil {
			t.Fatalf("what was read cannot be read once it is written again: %v", err)
		}
		if diff := cmp.Diff(candidates, again); diff != "" {
			t.Error(diff)
		}
	})
}
