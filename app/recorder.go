package app

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/config"
	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/notify"
	"github.com/portcullis-dev/portcullis/telemetrylog"
)

// recorder hands events on, and those that were taken to the telemetry log as
// well, if there is one.
type recorder struct {
	next ingester
	log  *telemetrylog.Log
}

func newRecorder(cfg config.TelemetryLogConfig, schema *field.Schema, next ingester, logger *slog.Logger, reg prometheus.Registerer) (*recorder, error) {
	r := &recorder{next: next}
	if cfg.Path == "" {
		return r, nil
	}
	var err error
	r.log, err = telemetrylog.New(telemetrylog.Options{
		Path:         cfg.Path,
		MaxMegabytes: cfg.MaxMegabytes,
		MaxFiles:     cfg.MaxFiles,
		Encode:       func(e *event.Event) ([]byte, error) { return notify.Line(schema.Document(e)) },
		Logger:       logger,
		Registerer:   reg,
	})
	return r, err
}

// Ingest implements ingester. What is not taken comes again, and is recorded then.
func (r *recorder) Ingest(ctx context.Context, events []*event.Event) error {
	if err := r.next.Ingest(ctx, events); err != nil {
		return err
	}
	if r.log != nil {
		r.log.Add(events)
	}
	return nil
}

// run writes the log until ctx ends.
func (r *recorder) run(ctx context.Context) error {
	if r.log == nil {
		<-ctx.Done()
		return nil
	}
	return r.log.Run(ctx)
}
