package main

import (
	"context"
	"fmt"
	"io/fs"
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
}

// damageBlock flips a bit in the messages of the store while the server is down. It may cost those messages, and
// what would have come of them; the server counts them.
func (s *suite) damageBlock(ctx context.Context) error {
	return s.damage(ctx, func(name string) bool {
		return strings.HasSuffix(name, ".blk") && strings.Contains(name, "/candidates/msgs/")
	}, true)
}

// damageDescription flips a bit in what describes a stream. That costs nothing.
func (s *suite) damageDescription(ctx context.Context) error {
	return s.damage(ctx, func(name string) bool { return filepath.Base(name) == "meta.inf" }, false)
}

func (s *suite) damage(ctx context.Context, which func(name string) bool, costs bool) error {
	for len(s.receiver.sofar()) == 0 && ctx.Err() == nil { // Until there is something to damage.
		s.wait(ctx, time.Second)
	}
	s.wait(ctx, 3*time.Second)
	s.releases.happening.Lock()
	defer s.releases.happening.Unlock()
	s.feed.paused.Store(true) // Nothing is to happen of which it is not certain whether it was before or after.
	defer s.feed.resume()
	s.server.kill()
	flipped, err := s.flip(which)
	if err != nil {
		return err
	}
	if flipped && costs {
		s.damages.atRisk += s.ledger.risk(s.receiver.sofar())
	}
	if err = s.server.restart(ctx); err != nil {
		return err
	}
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
