package execsession

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/execsession/join"
	"github.com/portcullis-dev/portcullis/execsession/redact"
)

// The defaults of Options.
const (
	DefaultMaxSessions = 5_000
	DefaultMaxBytes    = 64 << 20
	DefaultRetention   = 7 * 24 * time.Hour
)

// DefaultAnnotation is the audit annotation in which the webhook has written the session's ID.
const DefaultAnnotation = "exec.portcullis.dev/session"

// Pods knows what pods' specifications say.
type Pods interface {
	// DefaultContainer is what a request means that names no container.
	DefaultContainer(podUID string) (name string, known bool)
	// KubeletCommands visits the commands that the kubelet runs in a container itself: probes, with their
	// period, and hooks, with 0. No container stands for all of the pod's. A nil command is one that is not known. Visit must not use the Pods.
	KubeletCommands(podUID, container string, visit func(command []string, period time.Duration))
}

// Store is where the history outlives the process.
type Store interface {
	Put(ctx context.Context, key string, value []byte) error
	// Delete removes a value. That there is none is no error.
	Delete(ctx context.Context, key string) error
	// Range calls visit with each value, and when it was written, until visit returns an error, which it returns.
	Range(ctx context.Context, visit func(key string, value []byte, at time.Time) error) error
}

// Options are what a Tracker needs.
type Options struct {
	Pods Pods
	// Store keeps the history for the next process; nil forgets it.
	Store Store
	// Report takes Portcullis' own events about sessions. They are complete. It is called by no other goroutine than Run's.
	Report func(*event.Event)
	// Annotations are those in which the webhooks write a session's ID; DefaultAnnotation if empty.
	Annotations []string
	// Redactor takes secrets out of what is kept; redact.Default if nil.
	Redactor *redact.Redactor
	// Now is Portcullis' clock.
	Now        func() time.Time
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	// MaxSessions, MaxBytes and Retention bound the history; the defaults stand for zeros.
	MaxSessions int
	MaxBytes    int64
	Retention   time.Duration
	// Join are the windows of the attribution.
	Join join.Options
}

func (o *Options) complete() error {
	if len(o.Annotations) == 0 {
		o.Annotations = []string{DefaultAnnotation}
	}
	if o.Redactor == nil {
		o.Redactor = redact.Default()
	}
	if o.MaxSessions == 0 {
		o.MaxSessions = DefaultMaxSessions
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if o.Retention == 0 {
		o.Retention = DefaultRetention
	}
	var errs []error
	for _, check := range []struct {
		bad bool
		why string
	}{
		{o.Pods == nil, "Pods is missing: default containers and probes are looked up there"},
		{o.Report == nil, "Report is missing: it takes what nobody asked for"},
		{o.Now == nil, "Now is missing"},
		{o.Logger == nil, "Logger is missing"},
		{o.Registerer == nil, "Registerer is missing"},
		{o.MaxSessions < 0 || o.MaxBytes < 0 || o.Retention < 0, "MaxSessions, MaxBytes or Retention is negative"},
	} {
		if check.bad {
			errs = append(errs, errors.New(check.why))
		}
	}
	return errors.Join(errs...)
}

// Admission is what an admission review tells of a request, and what was answered.
type Admission struct {
	// Session is the ID that the answer puts into the audit event.
	Session string
	// Door is what the request does: exec, attach, portforward, ephemeralcontainers or proxy.
	Door string
	// Time is when the review came.
	Time time.Time
	// Pod is what it reaches into: by name, with the UID as it was resolved.
	Pod event.Pod
	// Container is empty for the pod's default container. Command is nil where it cannot be known.
	Container  string
	Command    []string
	Stdin, TTY bool
	// User is whom the request is made as.
	User, UserUID string
	Groups        []string
	Extra         map[string][]string
	Allowed       bool
	// Why is what the user was told.
	Why string
	// NewContainers are the debug containers that the request adds.
	NewContainers []NewContainer
}

// NewContainer is a debug container that a request adds.
type NewContainer struct {
	Name, Image string
	Command     []string
}
