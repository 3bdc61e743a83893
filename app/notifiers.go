package app

import (
	"log/slog"
	"strings"

	"github.com/portcullis-dev/portcullis/notify"
)

// newNotifiers makes the ways out that the configuration asks for.
func newNotifiers(opts Options, logger *slog.Logger) (*notify.Fanout, error) {
	cfg := opts.Config.Notify
	encoder := notify.NewEncoder("")
	sinks := make(map[string]notify.Sink)
	if cfg.Stdout {
		sinks["stdout"] = notify.NewWriter(opts.Detections, encoder)
	}
	if cfg.HTTP.URL != "" {
		sink, err := notify.NewHTTP(notify.HTTPOptions{
			URL: cfg.HTTP.URL,
			// The configuration allows http, and refuses it where a token would be sent.
			AllowPlain: strings.HasPrefix(cfg.HTTP.URL, "http://"),
			TokenFile:  cfg.HTTP.BearerTokenFile,
			CAFile:     cfg.HTTP.CAFile,
			Encoder:    encoder,
		})
		if err != nil {
			return nil, err
		}
		sinks["http"] = sink
	}
	return notify.NewFanout(notify.FanoutOptions{
		Sinks: sinks,
		// The stage that runs the fanout gives it a little longer than this.
		DrainTimeout: stopLimit * 3 / 4,
		Logger:       logger,
		Registerer:   opts.Registry,
	})
}
