package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/portcullis-dev/portcullis/test/harness"
)

// The recordings' names.
const (
	auditSample     = "audit.log.gz"
	telemetrySample = "telemetry.ndjson.gz"
)

// maxSamples bounds what goes into the repository, in bytes.
const maxSamples = 300 << 10

// capture keeps what was recorded between two moments.
type capture struct {
	begin, end time.Time
	directory  string
}

// line is what is looked at in a line of either log.
type line struct {
	Telemetry time.Time `json:"@timestamp"`
	Audit     time.Time `json:"stageTimestamp"`
	Namespace string    `json:"orchestrator.namespace"`
}

// isOf reports whether a line is of the story. The agent sees all containers of
// the machine; those that are in no pod of the cluster are somebody else's.
func (l line) isOf(c capture) bool {
	when := l.Audit
	if when.IsZero() {
		if l.Namespace == "" {
			return false
		}
		when = l.Telemetry
	}
	return !when.Before(c.begin) && !when.After(c.end)
}

// keep writes the samples. The telemetry log is at a path with wildcards.
func (c capture) keep(auditLog, telemetryLog string) error {
	logs, err := filepath.Glob(telemetryLog)
	if err != nil || len(logs) != 1 {
		return errors.Join(fmt.Errorf("there are %d telemetry logs at %s, want one", len(logs), telemetryLog), err)
	}
	size := 0
	for sample, path := range map[string]string{auditSample: auditLog, telemetrySample: logs[0]} {
		lines, err := c.lines(path)
		if err != nil {
			return err
		}
		if found := credential(lines); found != nil {
			return fmt.Errorf("%s: there is a credential in it: %.40q…", path, found)
		}
		packed, err := pack(lines)
		if err != nil {
			return err
		}
		fmt.Printf("  %s: %d lines, %d KiB, %d KiB packed\n", sample, bytes.Count(lines, []byte{'\n'}), len(lines)>>10, len(packed)>>10)
		if size += len(packed); size > maxSamples {
			return fmt.Errorf("the samples have more than %d KiB", maxSamples>>10)
		}
		if err := os.WriteFile(filepath.Join(c.directory, sample), packed, 0o644); err != nil { //nolint:gosec // everybody may read them
			return err
		}
	}
	return nil
}

// lines are those of a log that are of the story.
func (c capture) lines(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var kept []byte
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, len(text)+1)
	for lines.Scan() {
		var l line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if l.isOf(c) {
			kept = append(append(kept, lines.Bytes()...), '\n')
		}
	}
	return kept, lines.Err()
}

// credential finds a token or a key.
func credential(text []byte) []byte {
	return regexp.MustCompile(`eyJ[\w-]{16,}\.|(?i:bearer|basic) [\w.+/=-]{16,}|PRIVATE KEY`).Find(text)
}

func pack(text []byte) ([]byte, error) {
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	_, err = w.Write(text)
	err = errors.Join(err, w.Close())
	return packed.Bytes(), err
}

// check replays the samples: every rule must fire.
func check(ctx context.Context, cluster *harness.Cluster, directory string) error {
	args := []string{"replay", "--audit", filepath.Join(directory, auditSample), "--telemetry", filepath.Join(directory, telemetrySample)}
	r, err := cluster.Admin().Must(ctx, "portcullisctl", args...)
	if err != nil {
		return err
	}
	fmt.Print(r.Stdout, r.Stderr)
	for _, rule := range rules() {
		if !regexp.MustCompile(`(?m)\s` + rule + `\s`).MatchString(r.Stdout) {
			return fmt.Errorf("rule %s does not fire in the replay", rule)
		}
	}
	return nil
}
