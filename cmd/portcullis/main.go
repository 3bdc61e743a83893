// Command portcullis is the in-cluster server: it receives the API servers'
// audit events and the agents' telemetry, joins them, and answers the API
// server's admission reviews.
//
// Everything that it does is assembled in package app; this file turns flags
// and signals into a call of it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	crlog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/portcullis-dev/portcullis/app"
	"github.com/portcullis-dev/portcullis/config"
	"github.com/portcullis-dev/portcullis/event"
)

// version is set by the linker; see the Makefile.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	// The first signal drains, the second ends the process at once: nobody has to look for kill -9, which the
	// store survives as well.
	context.AfterFunc(ctx, stop)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "portcullis: %v\n", err)
		os.Exit(1)
	}
}

type options struct {
	configFile  string
	kubeconfig  string
	logLevel    slog.Level
	checkConfig bool
	showVersion bool
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("portcullis", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.configFile, "config", "/etc/portcullis/config.yaml", "configuration `file`")
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig `file`; empty means the pod's own service account")
	flags.TextVar(&o.logLevel, "log-level", slog.LevelInfo, "least `level` of log messages: debug, info, warn or error")
	flags.BoolVar(&o.checkConfig, "check-config", false, "read the configuration and every rule, say what is wrong with them, and end")
	flags.BoolVar(&o.showVersion, "version", false, "print the version and end")
	flags.Usage = func() {
		fmt.Fprintf(stderr, "portcullis receives audit events and telemetry, joins them, and guards exec.\n\nUsage:\n  portcullis --config FILE\n  portcullis --config FILE --check-config\n\nFlags:\n")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q: see portcullis --help", flags.Arg(0))
	}
	return o, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	if o.showVersion {
		_, err = fmt.Fprintln(stdout, describe(version))
		return err
	}
	cfg, err := config.Load(o.configFile)
	if err != nil {
		return err
	}
	if o.checkConfig {
		return app.Check(cfg, stdout)
	}

	// Detections go to standard output, one JSON document a line; the log goes
	// to standard error, so that neither has to be told from the other.
	logger := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: o.logLevel}))
	routeLibraryLogs(logger)
	api, err := restConfig(o.kubeconfig)
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	server, err := app.New(ctx, app.Options{
		Config: cfg,
		// Kubernetes puts these into the environment where the pod's manifest asks for it.
		Pod:        event.Pod{Namespace: os.Getenv("POD_NAMESPACE"), Name: os.Getenv("POD_NAME"), UID: os.Getenv("POD_UID")},
		REST:       api,
		Detections: stdout,
		Logger:     logger,
		Registry:   registry,
	})
	if err != nil {
		return err
	}
	logger.Info("starting", "version", describe(version), "mode", cfg.Mode)
	return server.Run(ctx)
}

// routeLibraryLogs makes client-go and controller-runtime write where everything else writes.
func routeLibraryLogs(logger *slog.Logger) {
	klog.SetLogger(logr.FromSlogHandler(logger.Handler()))
	crlog.SetLogger(logr.FromSlogHandler(logger.Handler()))
}

func restConfig(kubeconfig string) (*rest.Config, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("find the API server (in a pod: its service account; elsewhere: --kubeconfig): %w", err)
	}
	cfg.UserAgent = "portcullis/" + version
	// No limit on this side: after a restart every agent's token is reviewed at
	// once, and client-go's default of five requests a second would keep most
	// nodes out for minutes. The API server limits by fairness, the reviewer by
	// how many it has under way.
	cfg.QPS = -1
	return cfg, nil
}

func describe(version string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return version
	}
	return fmt.Sprintf("%s (%s)", version, info.GoVersion)
}
