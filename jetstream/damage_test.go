package jetstream

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/portcullis-dev/portcullis/bus"
)

// A store to be damaged holds this many messages and records: enough for three blocks of messages.
const (
	heldMessages = 100
	heldRecords  = 40
)

// openSmallBus opens a bus with the smallest bound, and so the smallest blocks: 4 MiB.
func openSmallBus(tb testing.TB, s *Store) *Bus {
	tb.Helper()
	b, err := s.Bus(tb.Context(), BusOptions{Retention: time.Hour, MaxBytes: minBytes})
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// makeStore makes a store of which something can be damaged, as a clean stop leaves it.
func makeStore(tb testing.TB) string {
	tb.Helper()
	dir := tb.TempDir()
	s := open(tb, options(dir))
	b, records := openSmallBus(tb, s), openBucket(tb, s)
	for i := range heldMessages {
		publish(tb, b, bus.Candidate{Rule: "r", Key: "k", Stage: i, Event: filling(tb, fmt.Sprint("k/", i), 100<<10)})
	}
	for i := range heldRecords {
		put(tb, records, fmt.Sprint(i), record(i))
	}
	shut(tb, s)
	return dir
}

func record(i int) string { return strings.Repeat(fmt.Sprintf("%d.", i), 1000) }

// copyOf is a copy of a store, to be damaged.
func copyOf(tb testing.TB, store string) string {
	tb.Helper()
	dir := tb.TempDir()
	if err := os.CopyFS(dir, os.DirFS(store)); err != nil {
		tb.Fatal(err)
	}
	return dir
}

// survivors opens a damaged store, and returns what its bus and bucket still have, in order. What they
// have must be what was stored, and what is new must work.
func survivors(tb testing.TB, s *Store) (messages, records []int) {
	tb.Helper()
	b := openSmallBus(tb, s)
	publish(tb, b, candidate("new", 0))
	ctx, cancel := context.WithTimeout(tb.Context(), 2*time.Minute)
	defer cancel()
	err := b.Consume(ctx, func(_ context.Context, c bus.Candidate) error {
		switch {
		case c.Event.ID != fmt.Sprintf("%s/%d", c.Key, c.Stage):
			tb.Errorf("candidate %s %d has event %s", c.Key, c.Stage, c.Event.ID)
		case c.Key == "new":
			cancel()
		default:
			messages = append(messages, c.Stage)
		}
		return nil
	})
	if err != nil || ctx.Err() != context.Canceled || !isReplayed(b) {
		tb.Errorf("what is new does not come, error is %v", err)
	}
	kept := openBucket(tb, s)
	err = kept.Range(tb.Context(), func(key string, value []byte, _ time.Time) error {
		if key == "new" {
			return nil
		}
		i, wrong := strconv.Atoi(key)
		if wrong != nil || string(value) != record(i) {
			tb.Errorf("record %q is %d bytes", key, len(value))
		}
		records = append(records, i)
		return nil
	})
	if err != nil {
		tb.Error(err)
	}
	put(tb, kept, "new", "1")
	if !slices.IsSorted(messages) || len(slices.Compact(slices.Clone(messages))) != len(messages) {
		tb.Errorf("messages come as %v", messages)
	}
	return messages, records
}

// damages are what is done to a store's files. Paths are below its streams.
func flip(name string, part float64) func(testing.TB, string) {
	return edit(name, func(data []byte) []byte {
		data[int(float64(len(data))*part)] ^= 0x10
		return data
	})
}

func truncate(name string, part float64) func(testing.TB, string) {
	return edit(name, func(data []byte) []byte { return data[:int(float64(len(data))*part)] })
}

func remove(name string) func(testing.TB, string) {
	return func(tb testing.TB, streams string) {
		tb.Helper()
		if err := os.RemoveAll(filepath.Join(streams, name)); err != nil {
			tb.Fatal(err)
		}
	}
}

func edit(name string, change func([]byte) []byte) func(testing.TB, string) {
	return func(tb testing.TB, streams string) {
		tb.Helper()
		path := filepath.Join(streams, name)
		data, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, change(data), 0o600)
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
}

// How a loss is told: where messages follow, by the gap in their sequence; at the end, only by what was found there.
const (
	inMessages = "in messages"
	inBytes    = "in bytes"
	notAtAll   = "not at all"
)

func TestDamagedStore(t *testing.T) {
	t.Parallel()
	store := makeStore(t)
	const everything = heldMessages
	for name, test := range map[string]struct {
		damage func(testing.TB, string)
		// atLeast is how many messages are left at least.
		atLeast int
		// told is how a loss is told.
		told string
		// mended is how many streams' descriptions were.
		mended float64
	}{
		"nothing":                     {func(testing.TB, string) {}, everything, inMessages, 0},
		"bit in the first block":      {flip("candidates/msgs/1.blk", 0.5), 75, inMessages, 0},
		"bit in a block":              {flip("candidates/msgs/2.blk", 0.5), 75, inMessages, 0},
		"bit in the last block":       {flip("candidates/msgs/3.blk", 0.5), 85, inBytes, 0},
		"first bit of a block":        {flip("candidates/msgs/2.blk", 0), 55, inMessages, 0},
		"end of a block cut off":      {truncate("candidates/msgs/2.blk", 0.63), 75, inMessages, 0},
		"end cut off":                 {truncate("candidates/msgs/3.blk", 0.63), 85, inBytes, 0},
		"empty block":                 {truncate("candidates/msgs/2.blk", 0), 55, inMessages, 0},
		"empty last block":            {truncate("candidates/msgs/3.blk", 0), 75, notAtAll, 0},
		"missing block":               {remove("candidates/msgs/2.blk"), 55, inMessages, 0},
		"missing first block":         {remove("candidates/msgs/1.blk"), 55, notAtAll, 0},
		"missing last block":          {remove("candidates/msgs/3.blk"), 75, notAtAll, 0},
		"no notes":                    {remove("candidates/msgs/index.db"), everything, inMessages, 0},
		"bit in the description":      {flip("candidates/meta.inf", 0.5), everything, inMessages, 1},
		"empty description":           {truncate("candidates/meta.inf", 0), everything, inMessages, 1},
		"no description":              {remove("candidates/meta.inf"), everything, inMessages, 1},
		"half the description's sum":  {truncate("candidates/meta.sum", 0.5), everything, inMessages, 1},
		"no description's sum":        {remove("candidates/meta.sum"), everything, inMessages, 1},
		"no descriptions of a bucket": {remove("KV_records/meta.inf"), everything, inMessages, 1},
		"no messages":                 {remove("candidates/msgs"), 0, notAtAll, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := copyOf(t, store)
			test.damage(t, filepath.Join(dir, streamsPath))
			s := open(t, options(dir))
			messages, records := survivors(t, s)
			if len(records) != heldRecords {
				t.Errorf("%d records are left of %d", len(records), heldRecords)
			}
			if len(messages) < test.atLeast {
				t.Errorf("%d messages are left, want %d at least", len(messages), test.atLeast)
			}
			switch test.told {
			case inMessages:
				counted(t, "lost messages", s.metrics.lost, float64(heldMessages-len(messages)))
			case inBytes:
				if testutil.ToFloat64(s.metrics.damaged.WithLabelValues(candidateStream)) == 0 {
					t.Error("no bytes are counted as unreadable")
				}
			}
			stream := candidateStream
			if strings.Contains(name, "bucket") {
				stream = "KV_records"
			}
			counted(t, "mended streams", s.metrics.mended.WithLabelValues(stream), test.mended)
			shut(t, s)
			survivors(t, open(t, options(dir))) // It is whole again.
		})
	}
}

// TestStreamThatCannotBeLoadedIsLeftAsItIs has a directory where a file should be: the server inside
// would delete the whole stream.
func TestStreamThatCannotBeLoadedIsLeftAsItIs(t *testing.T) {
	t.Parallel()
	dir := makeStore(t)
	block := filepath.Join(dir, streamsPath, "candidates", "msgs", "2.blk")
	if err := os.Rename(block, block+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(block, 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s := open(t, options(dir))
		_, err := s.Bus(t.Context(), BusOptions{Retention: time.Hour, MaxBytes: 256 << 20})
		if err == nil || !strings.Contains(err.Error(), "move "+filepath.Join(dir, streamsPath, "candidates")) {
			t.Errorf("error is %v", err)
		}
		shut(t, s)
	}
	if err := os.Remove(block); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(block+".away", block); err != nil {
		t.Fatal(err)
	}
	s := open(t, options(dir))
	if messages, records := survivors(t, s); len(messages) != heldMessages || len(records) != heldRecords {
		t.Errorf("%d messages and %d records are left", len(messages), len(records))
	}
	if left, err := entries(s.directory.caught("")); err != nil || len(left) > 0 {
		t.Errorf("%v is still in the net, error is %v", left, err)
	}
}

// TestAnyDamage changes files at random: a store opens with what is left, or says what to do.
func TestAnyDamage(t *testing.T) {
	t.Parallel()
	store := makeStore(t)
	for seed := range uint64(16) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			dir := copyOf(t, store)
			r := rand.New(rand.NewPCG(seed, 0))
			for range 1 + r.IntN(3) {
				t.Log(harm(t, r, dir))
			}
			s, err := Open(t.Context(), options(dir))
			if err != nil {
				if !strings.Contains(err.Error(), dir) {
					t.Errorf("error says not where: %v", err)
				}
				return
			}
			t.Cleanup(func() { shut(t, s) })
			messages, records := survivors(t, s)
			damaged := testutil.ToFloat64(s.metrics.damaged.WithLabelValues("KV_records"))
			if len(records) < heldRecords && damaged == 0 {
				t.Errorf("%d of %d records are left, and nothing says so", len(records), heldRecords)
			}
			t.Log(len(messages), "messages and", len(records), "records are left")
		})
	}
}

// harm does something to a file of a store, and says what.
func harm(tb testing.TB, r *rand.Rand, dir string) string {
	tb.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	path := files[r.IntN(len(files))]
	data, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	what := "left alone"
	if n := len(data); n > 0 {
		at := r.IntN(n)
		switch r.IntN(4) {
		case 0:
			what, data = "cut off", data[:at]
		case 1:
			what, data = "overwritten", append(data[:at], make([]byte, n-at)...)
		case 2:
			what, data = "garbled", append(data[:at], data[n/2:]...)
		default:
			what = "flipped"
			data[at] ^= 1 << r.IntN(8)
		}
		what = fmt.Sprintf("%s at %d of %d", what, at, n)
	}
	if err = os.WriteFile(path, data, 0o600); err != nil {
		tb.Fatal(err)
	}
	return strings.TrimPrefix(path, dir) + " " + what
}
