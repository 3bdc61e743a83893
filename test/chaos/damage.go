package main

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// damages sum up what was damaged on purpose, and what the server says of it.
type damages struct {
	// atRisk are stories of which the store had something, and no detection was made yet.
	atRisk int
	// messages and bytes are what the server counted as lost.
	messages, bytes float64
	// records are how often each bucket was damaged.
	records map[string]int
	// forgotten are the UIDs of pods that were released before the record of that was damaged.
	forgotten map[string]bool
}

// told reports whether the server has counted anything as lost.
func (d *damages) told() bool { return d.messages+d.bytes > 0 }

// damageBlock flips a bit in the messages of the store while the server is down. It may cost those messages, and
// what would have come of them; the server counts them.
func (s *suite) damageBlock(ctx context.Context) error {
	return s.damage(ctx, func() error {
		flipped, err := s.flip(messagesOf("candidates"))
		if flipped {
			s.damages.atRisk += s.ledger.risk(s.receiver.sofar())
		}
		return err
	})
}

// messagesOf picks the files of a stream in which its messages are.
func messagesOf(stream string) func(name string) bool {
	return func(name string) bool {
		return strings.HasSuffix(name, ".blk") && strings.Contains(name, "/"+stream+"/msgs/")
	}
}

// The buckets of records, and what it costs when one is damaged.
const (
	// bucketDetections: what was done about detections is forgotten. Those whose candidates are still there are
	// dealt with again, under the same ids, and told again; whom they had led to is in quarantine again,
	// although somebody has released him.
	bucketDetections = "detections"
	// bucketOutbox: people are not told of what was about to be told.
	bucketOutbox = "outbox"
	// bucketHeld: telemetry is lost that waited for its pod.
	bucketHeld = "held"
	// bucketCoverage: detections do not say of what was lost before that they may lack it.
	bucketCoverage = "coverage"
	// bucketIdentity: nobody knows any more who had a name before, but for pods that are there still; and how far
	// clocks are off is measured anew.
	bucketIdentity = "identity"
)

// damageRecords flips a bit in each of the buckets that something goes through while everything goes on.
func (s *suite) damageRecords(ctx context.Context) error {
	return s.damage(ctx, func() error {
		for _, bucket := range []string{bucketDetections, bucketOutbox, bucketHeld, bucketCoverage} {
			if err := s.flipRecord(bucket); err != nil {
				return err
			}
		}
		s.damages.atRisk += s.ledger.risk(s.receiver.sofar())
		return nil
	})
}

func (s *suite) flipRecord(bucket string) error {
	flipped, err := s.flip(messagesOf("KV_" + bucket))
	if err != nil || !flipped {
		return err
	}
	s.damages.records[bucket]++
	if bucket == bucketDetections {
		maps.Copy(s.damages.forgotten, s.releases.released())
		s.ledger.forget(s.receiver.sofar())
	}
	return nil
}

// damageHistory flips a bit in what is remembered of pods and clocks, once everything has arrived: until the clocks are measured
// anew, which takes a moment, times are off by as much as they are. Nothing that happens after that suffers.
func (s *suite) damageHistory(ctx context.Context) error {
	s.releases.happening.Lock()
	defer s.releases.happening.Unlock()
	if err := s.rest(ctx); err != nil {
		return err
	}
	defer s.feed.resume()
	s.server.kill()
	if err := s.flipRecord(bucketIdentity); err != nil {
		return err
	}
	if err := s.server.restart(ctx); err != nil {
		return err
	}
	if err := s.countLosses(ctx); err != nil {
		return err
	}
	return s.awaitClocks(ctx, 0)
}

// damageDescription flips a bit in what describes a stream. That costs nothing.
func (s *suite) damageDescription(ctx context.Context) error {
	return s.damage(ctx, func() error {
		_, err := s.flip(func(name string) bool { return filepath.Base(name) == "meta.inf" })
		return err
	})
}

// damage has the store be damaged while the server is down.
func (s *suite) damage(ctx context.Context, how func() error) error {
	for len(s.receiver.sofar()) == 0 && ctx.Err() == nil { // Until there is something to damage.
		s.wait(ctx, time.Second)
	}
	s.wait(ctx, 3*time.Second)
	s.releases.happening.Lock()
	defer s.releases.happening.Unlock()
	s.feed.paused.Store(true) // Nothing is to happen of which it is not certain whether it was before or after.
	defer s.feed.resume()
	s.server.kill()
	if err := how(); err != nil {
		return err
	}
	if err := s.server.restart(ctx); err != nil {
		return err
	}
	return s.countLosses(ctx)
}

// countLosses adds what the running process has counted as lost.
func (s *suite) countLosses(ctx context.Context) error {
	families, err := s.site.Metrics(ctx)
	if err != nil {
		return err
	}
	for _, m := range families["portcullis_bus_lost_total"].GetMetric() {
		s.damages.messages += m.GetCounter().GetValue()
	}
	for _, m := range families["portcullis_store_unreadable_bytes_total"].GetMetric() {
		s.damages.bytes += m.GetCounter().GetValue()
	}
	return nil
}

// flip flips a random bit of a random file, if one has any.
func (s *suite) flip(which func(name string) bool) (flipped bool, err error) {
	var files []string
	err = filepath.WalkDir(s.site.Config.DataDirectory, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && which(path) {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		return false, err
	}
	slices.Sort(files)
	for len(files) > 0 {
		i := s.random.IntN(len(files))
		data, err := os.ReadFile(files[i])
		if err != nil {
			return false, err
		}
		if len(data) == 0 {
			files = slices.Delete(files, i, i+1)
			continue
		}
		data[s.random.IntN(len(data))] ^= 1 << s.random.IntN(8)
		if err := os.WriteFile(files[i], data, 0o600); err != nil { //nolint:gosec // a file that was just found there
			return false, fmt.Errorf("damage the store: %w", err)
		}
		return true, nil
	}
	return false, nil
}
