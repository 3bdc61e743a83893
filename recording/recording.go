package recording

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"sync/atomic"

	"github.com/portcullis-dev/portcullis/auditsink"
	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/event"
)

// Kind says what a file holds.
type Kind uint8

// The kinds of files.
const (
	// Audit is an API server's audit log.
	Audit Kind = iota
	// Telemetry is a log of telemetry documents.
	Telemetry
	// Any is either, told by what each line says.
	Any
)

// String returns the kind's name.
func (k Kind) String() string {
	switch k {
	case Audit:
		return "audit"
	case Telemetry:
		return "telemetry"
	default:
		return "recorded"
	}
}

// Input is one file.
type Input struct {
	Kind Kind
	// Path names it; "-" is standard input.
	Path string
}

// heldOverhead is about what an event takes besides its text.
const heldOverhead = 1 << 10

// DefaultMaxLine is Options.MaxLine by default: an API server takes no object
// beyond 3 MiB, and records at most two of them with a request; a list of such
// events is one line as well.
const DefaultMaxLine = 32 << 20

// Options say what is read. Schema and Inputs are required.
type Options struct {
	Schema *field.Schema
	Inputs []Input
	// Stdin is what the path "-" means.
	Stdin io.Reader
	// MaxLine bounds a line, and a document that is spread over several, in bytes.
	MaxLine int
	// MaxMemory bounds the events that wait for the end of the recording and the
	// pods that it knows, in bytes, about; 1 GiB by default.
	MaxMemory int
}

// Reader reads a recording. It holds its files open until Close.
type Reader struct {
	opts  Options
	files []*file
	size  int64
	read  atomic.Int64
	audit *auditsink.Decoder

	pods pods
	held []*event.Event
	// heldBytes is about what held takes.
	heldBytes int
	counts    Counts
}

// Counts says what was read so far.
type Counts struct {
	// Events are those that were yielded; Bad are the lines that are none.
	Events, Bad int
	// Unknown counts, by name, what telemetry documents have that is no field.
	Unknown map[string]int
}

// Open opens all files, so that one that is not there is known before the
// others are read. The error tells of all of them.
func Open(o Options) (*Reader, error) {
	if o.Schema == nil {
		return nil, errors.New("recording: no schema")
	}
	if o.MaxLine == 0 {
		o.MaxLine = DefaultMaxLine
	}
	if o.MaxMemory == 0 {
		o.MaxMemory = 1 << 30
	}
	r := &Reader{opts: o, audit: auditsink.NewDecoder(), pods: newPods(), counts: Counts{Unknown: map[string]int{}}}
	var errs []error
	stdin := 0
	for _, input := range o.Inputs {
		if input.Path == "-" {
			stdin++
		}
		f, err := r.open(input)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		r.files = append(r.files, f)
	}
	if stdin > 1 {
		errs = append(errs, errors.New(`"-" is given twice, but there is only one standard input`))
	}
	if len(errs) > 0 {
		return nil, errors.Join(append(errs, r.Close())...)
	}
	return r, nil
}

func (r *Reader) open(input Input) (*file, error) {
	if input.Path == "-" {
		if r.opts.Stdin == nil {
			return nil, errors.New("recording: no standard input")
		}
		r.size = -1
		return &file{Input: input, name: "<stdin>", raw: r.opts.Stdin}, nil
	}
	raw, err := os.Open(input.Path)
	if err != nil {
		return nil, fmt.Errorf("open %s log: %w", input.Kind, err)
	}
	info, err := raw.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a folder: name the files in it", input.Path)
	}
	if err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	if r.size >= 0 {
		r.size += info.Size()
	}
	return &file{Input: input, name: input.Path, raw: raw, closer: raw}, nil
}

// Size is how many bytes there are to read, as the files are stored; -1 if that
// is not known.
func (r *Reader) Size() int64 { return r.size }

// Read is how many of them have been read. It may be asked at any time.
func (r *Reader) Read() int64 { return r.read.Load() }

// Counts says what was read so far. It is for the goroutine that ranges over Events.
func (r *Reader) Counts() Counts { return r.counts }

// Close closes the files.
func (r *Reader) Close() error {
	var errs []error
	for _, f := range r.files {
		if f.closer != nil {
			errs = append(errs, f.closer.Close())
			f.closer = nil
		}
	}
	return errors.Join(errs...)
}

// Events yields everything that was recorded, once. With an event, the error is
// nil. A *LineError says that a line is no event, and reading goes on. After any
// other error there is nothing more to read of that file; the next one is read.
//
// Events of one file come in its order, except those that name a pod of which
// the UID or the name must be found in the rest of the recording.
func (r *Reader) Events() iter.Seq2[*event.Event, error] {
	return func(yield func(*event.Event, error) bool) {
		for _, f := range r.files {
			if !r.fileEvents(f, yield) {
				return
			}
		}
		for _, e := range r.held {
			r.pods.resolve(e)
			if !r.yield(yield, e, nil) {
				return
			}
		}
		r.held = nil
	}
}

// yield counts what it yields.
func (r *Reader) yield(yield func(*event.Event, error) bool, e *event.Event, err error) bool {
	var line *LineError
	switch {
	case err == nil:
		r.counts.Events++
	case errors.As(err, &line):
		r.counts.Bad++
	}
	return yield(e, err)
}

// ErrTooLarge says that a recording has more pods, and events whose pods must be
// found, than fit in memory.
var ErrTooLarge = errors.New("the recording has too many pods whose identity must be found: read a part of it")

// admit notes the pods of an event that took so many bytes. It returns nil for one that waits.
func (r *Reader) admit(e *event.Event, bytes int) (*event.Event, error) {
	r.pods.note(e)
	wait := incomplete(e)
	if wait {
		r.held = append(r.held, e)
		r.heldBytes += heldOverhead + bytes
		e = nil
	}
	if r.heldBytes+r.pods.bytes > r.opts.MaxMemory {
		return nil, ErrTooLarge
	}
	return e, nil
}
