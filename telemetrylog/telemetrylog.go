// Package telemetrylog writes the agents' telemetry to a file, as an API server
// writes its audit log: what happened can be looked at later, and rules tried on
// it with portcullisctl replay.
//
// The file has one document of the Elastic Common Schema per line, see
// field.Schema, of the events as the rules saw them: times corrected, pods
// resolved. It is rotated by size. Command lines are in it as they were given,
// secrets among them: it is as confidential as the audit log, and only its owner
// may read it.
//
// Writing never holds up the events themselves. What finds no room in the queue,
// and what cannot be written because a disk is full, is lost to the log, counted,
// and told in the server's own log.
package telemetrylog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	"gopkg.in/natefinch/lumberjack.v2"

	"github.com/portcullis-dev/portcullis/event"
)

// queued is how many events may wait to be written: some seconds of a busy cluster.
const queued = 16_384

// tellEvery is how often a loss is told again.
const tellEvery = 10 * time.Second

// Options are what a Log is made from. All but MaxMegabytes and MaxFiles are required.
type Options struct {
	// Path is the file. Rotated ones stand beside it, with their time in their names.
	Path string
	// MaxMegabytes is the size at which the file is rotated, default 100.
	MaxMegabytes int
	// MaxFiles is how many rotated files are kept, default 5. The oldest go first.
	MaxFiles int
	// Encode makes the line of an event, without its end.
	Encode     func(*event.Event) ([]byte, error)
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

func (o Options) validate() error {
	switch {
	case o.Path == "":
		return errors.New("telemetry log: Options.Path is empty")
	case o.MaxMegabytes < 0 || o.MaxFiles < 0:
		return fmt.Errorf("telemetry log: Options.MaxMegabytes is %d, MaxFiles %d: neither can be negative", o.MaxMegabytes, o.MaxFiles)
	case o.Encode == nil:
		return errors.New("telemetry log: Options.Encode is nil")
	case o.Logger == nil:
		return errors.New("telemetry log: Options.Logger is nil")
	case o.Registerer == nil:
		return errors.New("telemetry log: Options.Registerer is nil")
	}
	return nil
}

// Log is the file with the queue before it.
type Log struct {
	opts   Options
	queue  chan *event.Event
	file   io.WriteCloser
	tell   *rate.Sometimes
	broken bool // the last line may have no end

	written       prometheus.Counter
	full, failing prometheus.Counter
}

// New opens the file, so that a path that cannot be written to is known at once.
// Nothing is written before Run.
func New(o Options) (*Log, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	if o.MaxMegabytes == 0 {
		o.MaxMegabytes = 100
	}
	if o.MaxFiles == 0 {
		o.MaxFiles = 5
	}
	broken, err := probe(o.Path)
	if err != nil {
		return nil, fmt.Errorf("telemetry log: %w", err)
	}
	l := &Log{
		opts: o, queue: make(chan *event.Event, queued), tell: &rate.Sometimes{Interval: tellEvery},
		file:   &lumberjack.Logger{Filename: o.Path, MaxSize: o.MaxMegabytes, MaxBackups: o.MaxFiles},
		broken: broken,
	}
	if err := l.register(); err != nil {
		return nil, fmt.Errorf("telemetry log metrics: %w", err)
	}
	return l, nil
}

func (l *Log) register() error {
	l.written = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "portcullis_telemetry_log_written_total",
		Help: "Events written to the telemetry log.",
	})
	lost := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "portcullis_telemetry_log_lost_total",
		Help: "Events that are not in the telemetry log, by reason: queue_full, or write_failed as on a full disk.",
	}, []string{"reason"})
	l.full, l.failing = lost.WithLabelValues("queue_full"), lost.WithLabelValues("write_failed")
	return errors.Join(l.opts.Registerer.Register(l.written), l.opts.Registerer.Register(lost))
}

// Add hands telemetry over; audit events are not written. It never waits. The
// events must not change any more.
func (l *Log) Add(events []*event.Event) {
	for _, e := range events {
		if e.Audit != nil {
			continue
		}
		select {
		case l.queue <- e:
		default:
			l.full.Inc()
		}
	}
}

// Run writes until ctx ends, and then what is left. It runs once.
func (l *Log) Run(ctx context.Context) error {
	for {
		select {
		case e := <-l.queue:
			l.write(e)
		case <-ctx.Done():
			return l.finish()
		}
	}
}

func (l *Log) finish() error {
	for {
		select {
		case e := <-l.queue:
			l.write(e)
		default:
			return l.file.Close()
		}
	}
}

func (l *Log) write(e *event.Event) {
	line, err := l.opts.Encode(e)
	if err == nil {
		err = l.writeLine(append(line, '\n'))
	}
	if err == nil {
		l.written.Inc()
		return
	}
	l.failing.Inc()
	l.tell.Do(func() {
		l.opts.Logger.Error("telemetry log cannot be written, events are missing in it", "error", err, "path", l.opts.Path)
	})
}

// writeLine keeps lines apart: one that was written in part is ended first.
func (l *Log) writeLine(line []byte) error {
	if l.broken {
		line = append([]byte{'\n'}, line...)
	}
	n, err := l.file.Write(line)
	l.broken = err != nil && (n > 0 || l.broken)
	return err
}

// probe makes the file if there is none, and reports whether its last line has
// no end: a server that dies while it writes leaves half a line.
func probe(path string) (broken bool, err error) {
	if err = os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return false, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return false, err
	}
	last := make([]byte, 1)
	_, err = f.ReadAt(last, info.Size()-1)
	return last[0] != '\n', err
}
