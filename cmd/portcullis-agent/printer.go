package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"

	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
)

// printer writes one JSON object per line for each event.
type printer struct {
	out     *bufio.Writer
	logger  *slog.Logger
	events  chan *telemetryv1.Event
	dropped atomic.Uint64
}

// printerQueue is how many events may wait for a slow reader of our output.
const printerQueue = 4096

func newPrinter(w io.Writer, logger *slog.Logger) *printer {
	return &printer{out: bufio.NewWriter(w), logger: logger, events: make(chan *telemetryv1.Event, printerQueue)}
}

// Push implements agent.Sink.
func (p *printer) Push(e *telemetryv1.Event) {
	select {
	case p.events <- e:
	default:
		p.dropped.Add(1)
	}
}

// Close implements agent.Sink.
func (p *printer) Close() { close(p.events) }

// Ready implements output.
func (p *printer) Ready() error { return nil }

// Run implements output.
func (p *printer) Run(ctx context.Context) error {
	defer func() {
		if n := p.dropped.Load(); n > 0 {
			p.logger.Warn("events were not printed because nobody read them", "count", n)
		}
	}()
	for sequence := uint64(1); ; sequence++ {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, ok := <-p.events:
			if !ok {
				return p.out.Flush()
			}
			e.Sequence = sequence
			if err := p.print(e); err != nil {
				return err
			}
		}
	}
}

func (p *printer) print(e *telemetryv1.Event) error {
	raw, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(e)
	if err != nil {
		return fmt.Errorf("print an event: %w", err)
	}
	var line bytes.Buffer
	if err := json.Compact(&line, raw); err != nil {
		return fmt.Errorf("print an event: %w", err)
	}
	line.WriteByte('\n')
	if _, err := p.out.Write(escape(line.Bytes())); err != nil {
		return fmt.Errorf("print an event: %w", err)
	}
	if len(p.events) > 0 {
		return nil
	}
	return p.out.Flush()
}

// escape writes as \u what a terminal may act upon. JSON leaves some of it as
// it is: C1 controls, and characters that change the direction of text.
func escape(line []byte) []byte {
	out := make([]byte, 0, len(line))
	for len(line) > 0 {
		r, n := utf8.DecodeRune(line)
		switch {
		case r == '\n' || r < utf8.RuneSelf && r != 0x7f || unicode.IsPrint(r):
			out = append(out, line[:n]...)
		case r > 0xffff:
			out = fmt.Appendf(out, `\u%04x\u%04x`, 0xd800+(r-0x10000)>>10, 0xdc00+(r-0x10000)&0x3ff)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		line = line[n:]
	}
	return out
}
