package jetstream

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/bus"
	"github.com/portcullis-dev/portcullis/event"
)

// The test's own binary is also the process that is killed. It is told what to do by its environment.
const (
	childDirectory = "PORTCULLIS_JETSTREAM_CHILD"
	childRetention = "PORTCULLIS_JETSTREAM_CHILD_RETENTION"
	childLife      = "PORTCULLIS_JETSTREAM_CHILD_LIFE"
)

// Each process has this many publishers, each with keys of its own, and this many records.
const (
	publishers = 3
	recordKeys = 20
)

// victim is the process that is killed: it says what it finds when it starts, and then
// what it has been promised, a line each, until it is no more:
//
//	found <key> <first> <last>    candidates that were delivered again
//	wrong <text>                  something that was found and should not be so
//	record <key> <value>          a record that was there
//	ready                         that was all
//	acknowledged <key> <first> <last>
//	putting <key> <value>         and, once it is stored,
//	put <key> <value>
type victim struct {
	store   *Store
	bus     *Bus
	records *Bucket
	life    string

	mu  sync.Mutex
	out *bufio.Writer
}

func child() int {
	if err := runVictim(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func runVictim() error {
	ctx := context.Background()
	retention, err := time.ParseDuration(os.Getenv(childRetention))
	if err != nil {
		return err
	}
	s, err := Open(ctx, Options{
		Directory: os.Getenv(childDirectory), Clock: time.Now, Timeout: time.Minute, Logger: quiet(),
		Registerer: prometheus.NewRegistry(), tick: 5 * time.Millisecond,
	})
	if err != nil {
		return err
	}
	v := &victim{store: s, life: os.Getenv(childLife), out: bufio.NewWriter(os.Stdout)}
	if v.bus, err = s.Bus(ctx, BusOptions{Retention: retention}); err != nil {
		return err
	}
	if v.records, err = s.Bucket(ctx, BucketOptions{Name: "records", TTL: time.Hour, MaxBytes: 64 << 20}); err != nil {
		return err
	}
	return v.live(ctx)
}

// say writes a line at once: it must not die with the process.
func (v *victim) say(format string, values ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	fmt.Fprintf(v.out, format+"\n", values...)
	_ = v.out.Flush()
}

func (v *victim) live(ctx context.Context) error {
	found := map[string][]int{}
	failed := make(chan error, publishers+2)
	go func() {
		failed <- v.bus.Consume(ctx, func(_ context.Context, c bus.Candidate) error {
			if c.Event.ID != fingerprint(c) {
				v.say("wrong event %q of candidate %s %d", c.Event.ID, c.Key, c.Stage)
			}
			if !isReplayed(v.bus) {
				found[c.Key] = append(found[c.Key], c.Stage)
			}
			return nil
		})
	}()
	select {
	case <-v.bus.Replayed():
	case err := <-failed:
		return err
	}
	v.tell(found)
	err := v.records.Range(ctx, func(key string, value []byte, _ time.Time) error {
		v.say("record %s %s", key, value[:strings.IndexByte(string(value), ' ')])
		return nil
	})
	if err != nil {
		return err
	}
	v.say("ready")
	for number := range publishers {
		go func() { failed <- v.publish(ctx, fmt.Sprint("life", v.life, "-", number)) }()
	}
	go func() { failed <- v.write(ctx) }()
	return <-failed
}

// tell says what was found, in ranges.
func (v *victim) tell(found map[string][]int) {
	for key, stages := range found {
		if !slices.IsSorted(stages) || len(slices.Compact(slices.Clone(stages))) != len(stages) {
			v.say("wrong order or number of key %s: %v", key, stages)
		}
		for first := 0; first < len(stages); {
			last := first
			for last+1 < len(stages) && stages[last+1] == stages[last]+1 {
				last++
			}
			v.say("found %s %d %d", key, stages[first], stages[last])
			first = last + 1
		}
	}
}

// publish publishes deliveries of random sizes.
func (v *victim) publish(ctx context.Context, key string) error {
	for next := 0; ; {
		delivery := make([]bus.Candidate, 1+rand.IntN(20))
		for i := range delivery {
			delivery[i] = bus.Candidate{Rule: "rule", Key: key, Stage: next + i}
			delivery[i].Event = &event.Event{
				ID: fingerprint(delivery[i]), Process: &event.Process{Args: []string{strings.Repeat("x", rand.IntN(1000))}},
			}
		}
		if err := v.bus.Publish(ctx, delivery...); err != nil && !errors.Is(err, ErrFull) {
			return err
		} else if err == nil {
			v.say("acknowledged %s %d %d", key, next, next+len(delivery)-1)
		}
		next += len(delivery)
	}
}

func fingerprint(c bus.Candidate) string {
	sum := sha256.Sum256([]byte(fmt.Sprint(c.Key, "/", c.Stage)))
	return hex.EncodeToString(sum[:8])
}

// write writes records. Values are larger with each.
func (v *victim) write(ctx context.Context) error {
	for i := 0; ; i++ {
		key, value := fmt.Sprint("record", rand.IntN(recordKeys)), fmt.Sprintf("%s.%d", v.life, i)
		v.say("putting %s %s", key, value)
		if err := v.records.Put(ctx, key, []byte(value+strings.Repeat(" ", 1+rand.IntN(100)))); err != nil {
			return err
		}
		v.say("put %s %s", key, value)
	}
}
