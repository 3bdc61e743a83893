package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/pflag"
)

type options struct {
	server, serverName string
	caFile, tokenFile  string
	nodeName           string
	healthAddr         string
	output             string
	drainTimeout       time.Duration
	spoolBytes         int
	spoolDir           string
	spoolDirBytes      int
	ringBytes          uint32
	containerRate      uint64
	check, showVersion bool
	logger             *slog.Logger
}

// parse reads the flags. What is wrong is all reported at once.
func parse(args []string, stderr io.Writer) (*options, error) {
	o := &options{}
	var level string
	f := pflag.NewFlagSet("portcullis-agent", pflag.ContinueOnError)
	f.SetOutput(stderr)
	f.SortFlags = false
	f.StringVar(&o.server, "server", "", "address of the Portcullis server, host:port")
	f.StringVar(&o.serverName, "server-name", "", "name in the server's certificate (default: the host of --server)")
	f.StringVar(&o.caFile, "ca-file", "", "file of the certificates that sign the server's (PEM); read again for every connection")
	f.StringVar(&o.tokenFile, "token-file", "", "file of the token that the agent shows; read again for every connection")
	f.StringVar(&o.nodeName, "node-name", "", "this node's name, for the log only: the server goes by the token")
	f.StringVar(&o.healthAddr, "health-addr", "127.0.0.1:9441", "address of /healthz, /readyz and /metrics (plain HTTP); empty for none")
	f.StringVar(&o.output, "output", "server", `where telemetry goes: "server", or "json" to print it`)
	f.DurationVar(&o.drainTimeout, "drain-timeout", 5*time.Second, "how long to go on sending after a signal to stop")
	f.IntVar(&o.spoolBytes, "spool-bytes", 16<<20, "memory for events while the server is away; beyond it the oldest of the container that has most are dropped")
	f.StringVar(&o.spoolDir, "spool-dir", "", "directory of the agent's own for events that memory has no room for, and across restarts; empty for none")
	f.IntVar(&o.spoolDirBytes, "spool-dir-bytes", 256<<20, "space for files in --spool-dir; the oldest are dropped beyond it")
	f.Uint32Var(&o.ringBytes, "ring-bytes", 4<<20, "size of the kernel's ring buffer, a power of two")
	f.Uint64Var(&o.containerRate, "container-rate", 8<<20, "bytes of records per second that the execs of one container may cause; entry leaders and opens have half of it each on top")
	f.BoolVar(&o.check, "check", false, "print what this kernel lets the agent see, and exit")
	f.BoolVar(&o.showVersion, "version", false, "print the version, and exit")
	f.StringVar(&level, "log-level", "info", "debug, info, warn or error")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	var errs []error
	var slogLevel slog.Level
	if err := slogLevel.UnmarshalText([]byte(level)); err != nil {
		errs = append(errs, fmt.Errorf("--log-level: %q is none of debug, info, warn, error", level))
	}
	o.logger = slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: slogLevel}))
	if o.nodeName != "" {
		o.logger = o.logger.With("node", o.nodeName)
	}
	if f.NArg() > 0 {
		errs = append(errs, fmt.Errorf("unexpected argument %q", f.Arg(0)))
	}
	if !o.check && !o.showVersion {
		errs = append(errs, o.validate()...)
	}
	return o, errors.Join(errs...)
}

func (o *options) validate() (errs []error) {
	switch o.output {
	case "json":
	case "server":
		for _, required := range []struct{ flag, value string }{
			{"--server", o.server}, {"--ca-file", o.caFile}, {"--token-file", o.tokenFile},
		} {
			if required.value == "" {
				errs = append(errs, fmt.Errorf("%s is required (or --output=json)", required.flag))
			}
		}
	default:
		errs = append(errs, fmt.Errorf(`--output: %q is neither "server" nor "json"`, o.output))
	}
	if o.spoolBytes < 1<<20 {
		errs = append(errs, fmt.Errorf("--spool-bytes: %d is less than 1 MiB", o.spoolBytes))
	}
	if o.spoolDirBytes < 1<<20 {
		errs = append(errs, fmt.Errorf("--spool-dir-bytes: %d is less than 1 MiB", o.spoolDirBytes))
	}
	if o.ringBytes < 64<<10 || o.ringBytes&(o.ringBytes-1) != 0 {
		errs = append(errs, fmt.Errorf("--ring-bytes: %d is no power of two of at least 64 KiB", o.ringBytes))
	}
	if o.containerRate < 64<<10 {
		errs = append(errs, fmt.Errorf("--container-rate: %d is less than 64 KiB", o.containerRate))
	}
	if o.drainTimeout < 0 {
		errs = append(errs, fmt.Errorf("--drain-timeout: %v is negative", o.drainTimeout))
	}
	return errs
}
