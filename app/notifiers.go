package app

import (
	"context"
	"log/slog"
	"strings"

	"github.com/portcullis-dev/portcullis/notify"
)

// newNotifiers makes the ways out that the configuration asks for. What they did not take yet is
// in the outbox, which is nil where nothing is to outlive the process.
func newNotifiers(ctx context.Context, opts Options, outbox notify.Store, logger *slog.Logger) (*notify.Fanout, error) {
	cfg := opts.Config.Notify
	sinks := make(map[string]notify.Sink)
	if cfg.Stdout {
		sinks["stdout"] = notify.NewWriter(opts.Detections)
	}
	if cfg.HTTP.URL != "" {
		sink, err := notify.NewHTTP(notify.HTTPOptions{
			URL: cfg.HTTP.URL,
			// The configuration allows http, and refuses it where a token would be sent.
			AllowPlain: strings.HasPrefix(cfg.HTTP.URL, "http://"),
			TokenFile:  cfg.HTTP.BearerTokenFile,
			CAFile:     cfg.HTTP.CAFile,
		})
		if err != nil {
			return nil, err
		}
		sinks["http"] = sink
	}
	return notify.NewFanout(ctx, notify.FanoutOptions{
		Sinks:   sinks,
		Encoder: notify.NewEncoder(""),
		Store:   outbox,
		// The stage that runs the fanout gives it a little longer than this.
		DrainTimeout: stopLimit * 3 / 4,
		Logger:       logger,
		Registerer:   opts.Registry,
	})
}
