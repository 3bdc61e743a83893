package recording

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/portcullis-dev/portcullis/event"
)

// maxWindow bounds the memory that a zstd file can ask for.
const maxWindow = 128 << 20

// file is one file that is read.
type file struct {
	Input
	name   string
	raw    io.Reader
	closer io.Closer
}

// LineError says that a line is not an event.
type LineError struct {
	File string
	// Line is counted from 1.
	Line int
	// Torn says that it is the last line and just ends: the file was cut, or is
	// still being written.
	Torn bool
	Err  error
}

// Error implements error.
func (e *LineError) Error() string {
	if e.Torn {
		return fmt.Sprintf("%s:%d: the last line is cut off", e.File, e.Line)
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, strings.ReplaceAll(e.Err.Error(), "\n", "; "))
}

// Unwrap returns what is wrong with the line.
func (e *LineError) Unwrap() error { return e.Err }

// NoEventsError says that a file has lines, and none of them is an event.
type NoEventsError struct {
	File string
	Kind Kind
	// Lines is how many there are.
	Lines int
}

// Error implements error.
func (e *NoEventsError) Error() string {
	what, hint := "an audit event", ", or are they telemetry documents"
	switch e.Kind {
	case Telemetry:
		what, hint = "a telemetry document", ", or are they audit events"
	case Any:
		what, hint = "an audit event or a telemetry document", ""
	case Audit:
	}
	return fmt.Sprintf("%s: none of %d lines is %s: is it another file%s?", e.File, e.Lines, what, hint)
}

// countingReader counts the bytes as they are stored.
type countingReader struct {
	io.Reader
	count func(int)
}

func (c countingReader) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.count(n)
	return n, err
}

// decompressed is the file's content. What it is compressed with is told by its first bytes.
func (r *Reader) decompressed(f *file) (content io.Reader, done func(), err error) {
	stored := bufio.NewReaderSize(countingReader{f.raw, func(n int) { r.read.Add(int64(n)) }}, 64<<10)
	magic, err := stored.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(stored)
		if err != nil {
			return nil, nil, fmt.Errorf("gzip: %w", err)
		}
		return z, func() {}, nil
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(stored, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, nil, fmt.Errorf("zstd: %w", err)
		}
		return z, z.Close, nil
	default:
		return stored, func() {}, nil
	}
}

// fileEvents yields the events of one file, and what is wrong with it. It
// returns false when the caller wants no more.
func (r *Reader) fileEvents(f *file, yield func(*event.Event, error) bool) bool {
	content, done, err := r.decompressed(f)
	if err != nil {
		return yield(nil, fmt.Errorf("read %s: %w", f.name, err))
	}
	defer done()
	s := scan{reader: r, file: f, lines: newLines(content, r.opts.MaxLine), yield: yield}
	s.run()
	return !s.stopped
}

// scan is the reading of one file.
type scan struct {
	reader *Reader
	file   *file
	lines  *lines
	yield  func(*event.Event, error) bool
	events int
	// stopped: the caller wants no more.
	stopped bool
}

func (s *scan) run() {
	texts := 0
	for !s.stopped {
		text, err := s.lines.next()
		if err != nil && !errors.Is(err, errTooLong) {
			s.end(err, texts)
			return
		}
		text = bytes.TrimSpace(text)
		switch {
		case err != nil:
			s.bad(err, false)
		case len(text) == 0:
			continue
		case texts == 0 && (len(text) == 1 && (text[0] == '{' || text[0] == '[')):
			s.pretty(text)
		default:
			s.values(text)
		}
		texts++
	}
}

// end reports how the file ends.
func (s *scan) end(err error, texts int) {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF): // of a compressed file
		s.report(nil, &LineError{File: s.file.name, Line: s.lines.number, Torn: true, Err: err})
	case !errors.Is(err, io.EOF):
		s.report(nil, fmt.Errorf("read %s: %w", s.file.name, err))
		return
	}
	if s.events == 0 && texts > 0 && !s.stopped {
		s.report(nil, &NoEventsError{File: s.file.name, Kind: s.file.Kind, Lines: texts})
	}
}

// give hands an event on that took so many bytes, or keeps it for later.
func (s *scan) give(e *event.Event, bytes int) {
	s.events++
	e, err := s.reader.admit(e, bytes)
	if e != nil || err != nil {
		s.report(e, err)
	}
	s.stopped = s.stopped || err != nil
}

func (s *scan) report(e *event.Event, err error) {
	if !s.stopped {
		s.stopped = !s.reader.yield(s.yield, e, err)
	}
}

func (s *scan) bad(err error, torn bool) {
	s.report(nil, &LineError{File: s.file.name, Line: s.lines.number, Torn: torn, Err: err})
}

// pretty reads the rest of the file as one value that is spread over lines.
func (s *scan) pretty(first []byte) {
	text := append(bytes.Clone(first), '\n')
	for {
		line, err := s.lines.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil && len(text)+len(line) > s.reader.opts.MaxLine {
			err = errTooLong
		}
		if err != nil {
			s.bad(err, false)
			return
		}
		text = append(append(text, line...), '\n')
	}
	s.values(bytes.TrimSpace(text))
}

// values yields what a text holds: one value, or a list of them.
func (s *scan) values(text []byte) {
	if text[0] == '[' {
		var list []json.RawMessage
		if err := json.Unmarshal(text, &list); err != nil {
			s.syntax(err)
			return
		}
		for _, value := range list {
			s.value(value)
		}
		return
	}
	s.value(text)
}

func (s *scan) value(text []byte) {
	if s.file.Kind == Audit || s.file.Kind == Any && isAudit(text) {
		s.audit(text)
		return
	}
	s.telemetry(text)
}

// syntax reports what is no JSON.
func (s *scan) syntax(err error) {
	var syntax *json.SyntaxError
	cut := errors.As(err, &syntax) || errors.Is(err, io.ErrUnexpectedEOF)
	s.bad(fmt.Errorf("not JSON: %w", err), cut && s.lines.torn)
}
