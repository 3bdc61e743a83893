// Command portcullis-agent runs on every node. It watches what containers
// execute, and their service accounts' files being opened, and sends that to
// Portcullis.
//
//	portcullis-agent --server=portcullis.portcullis.svc:8444 --ca-file=… --token-file=…
//	portcullis-agent --check            what does this kernel let the agent see?
//	portcullis-agent --output=json      print the telemetry instead of sending it
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/spf13/pflag"
)

// version is set by the linker; see the Makefile.
var version = "dev"

// processors is how many threads run Go code at once. One reads and sends what a node's containers
// can cause, and has no others to wake: with more, Go's threads look for work on
// processors that the node's workload runs on, which costs that more than the programs in the kernel do. GOMAXPROCS overrides it.
const processors = 1

func main() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(processors)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	code := realMain(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// The exit codes.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

func realMain(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	opts, err := parse(args, stderr)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return exitOK
	case err != nil:
		_, _ = fmt.Fprintln(stderr, "portcullis-agent:", err)
		return exitUsage
	case opts.showVersion:
		_, _ = fmt.Fprintln(stdout, "portcullis-agent", version)
		return exitOK
	case opts.check:
		err = check(stdout, opts.logger)
	default:
		err = run(ctx, opts, stdout)
	}
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "portcullis-agent:", err)
		return exitFailure
	}
	return exitOK
}
