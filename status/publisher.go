package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// Defaults of Options.
const (
	// DefaultMin is how often a document is made, and written if it says something new.
	DefaultMin = 3 * time.Second
	// DefaultMax is how old the published document gets.
	DefaultMax = 30 * time.Second
)

// Stale is the age from which on a document means that the server is gone, or cannot write: several writes are missing.
const Stale = 3*DefaultMax + DefaultMin

// writeTimeout bounds one write.
const writeTimeout = 10 * time.Second

// Options are a Publisher's dependencies. All but Min and Max are required.
type Options struct {
	Client    kubernetes.Interface
	Namespace string
	// Collect makes the document. It must not block.
	Collect func() Document
	// Min is how often a document is made, Max how old the published one gets. Zeros mean the defaults.
	Min, Max   time.Duration
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

func (o *Options) complete() error {
	switch {
	case o.Client == nil:
		return errors.New("status: Options.Client is nil")
	case o.Namespace == "":
		return errors.New("status: Options.Namespace is empty")
	case o.Collect == nil:
		return errors.New("status: Options.Collect is nil")
	case o.Logger == nil:
		return errors.New("status: Options.Logger is nil")
	case o.Registerer == nil:
		return errors.New("status: Options.Registerer is nil")
	case o.Min < 0 || o.Max < 0:
		return errors.New("status: Options.Min and Max must not be negative")
	}
	if o.Min == 0 {
		o.Min = DefaultMin
	}
	if o.Max == 0 {
		o.Max = DefaultMax
	}
	return nil
}

// Publisher keeps the ConfigMap up to date. The ConfigMap must be there: the right to create one cannot be limited to a name.
type Publisher struct {
	opts   Options
	writes *prometheus.CounterVec
	failed rate.Sometimes
}

// New returns a Publisher that does nothing until Run.
func New(opts Options) (*Publisher, error) {
	if err := opts.complete(); err != nil {
		return nil, err
	}
	p := &Publisher{
		opts: opts,
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "portcullis_status_writes_total", Help: "Times that the status was written to its ConfigMap, or could not be.",
		}, []string{"result"}),
		failed: rate.Sometimes{First: 1, Interval: 5 * time.Minute},
	}
	for _, result := range []string{"written", "failed"} {
		p.writes.WithLabelValues(result)
	}
	return p, opts.Registerer.Register(p.writes)
}

// Run publishes until ctx ends, and then once more: the last words say when the server went. It returns nil.
func (p *Publisher) Run(ctx context.Context) error {
	tick := time.NewTicker(p.opts.Min)
	defer tick.Stop()
	var last Document
	for {
		if d := p.opts.Collect(); !same(d, last) || d.At.Sub(last.At) >= p.opts.Max {
			if p.write(ctx, d) {
				last = d
			}
		}
		select {
		case <-ctx.Done():
			d := p.opts.Collect()
			d.Server.Ready, d.Server.NotReady = false, "the server has been stopped"
			p.write(context.WithoutCancel(ctx), d)
			return nil
		case <-tick.C:
		}
	}
}

// write writes one document with one request: a merge patch needs nothing to be read before.
func (p *Publisher) write(ctx context.Context, d Document) bool {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	err := p.patch(ctx, d)
	if err == nil {
		p.writes.WithLabelValues("written").Inc()
		return true
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return false // The server is stopping: its last words come after this.
	}
	p.writes.WithLabelValues("failed").Inc()
	p.failed.Do(func() {
		p.opts.Logger.Warn("the status could not be published, so portcullisctl doctor knows little; it is tried again", "error", err)
	})
	return false
}

func (p *Publisher) patch(ctx context.Context, d Document) error {
	text, err := Encode(d)
	if err != nil {
		return err
	}
	patch, err := json.Marshal(map[string]any{"data": map[string]string{Key: string(text)}})
	if err != nil {
		return fmt.Errorf("encode the patch: %w", err)
	}
	_, err = p.opts.Client.CoreV1().ConfigMaps(p.opts.Namespace).
		Patch(ctx, ConfigMap, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "portcullis"})
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("the ConfigMap %s/%s is not there: the chart makes it, so helm upgrade brings it back: %w", p.opts.Namespace, ConfigMap, err)
	}
	return err
}
