// Command gatebench measures the gate.
//
//   - A verdict: what a review costs at the real server, with 1,000 quarantines, beside a
//     controller-runtime webhook that does nothing, in a process of its own as well. Over TLS and
//     HTTP/2, one at a time on one connection, as API servers send them.
//   - An exec: what the policy in the API server adds, by how many Quarantines there are.
//   - The window: how long after a pod's request to the API server, which a rule wants, somebody still gets into
//     that pod. On a real API server that sends its audit events in batches, and on one that blocks.
//   - The end of a session: how long after a detection no process of an exec session is left that is to end. With the
//     real agent on this kernel, and a container by runc.
//
// `make bench WHAT=gate` prints its tables. It fails if a verdict takes longer than the empty webhook's
// by more than the noise, and if a session goes on that should have ended, or another one does not; all
// other times depend on the machine and are only printed. It needs the binaries of a Kubernetes, see package
// apiserver; the last table needs root and runc.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/go-logr/logr"
	crlog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/portcullis-dev/portcullis/test/standalone"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "gatebench: %v\n", err)
		os.Exit(1)
	}
}

type options struct {
	binary      string
	agent       string
	quarantines int
	mirrors     bool
	rounds      int
	reviews     int
	execs       int
	trials      int
	sessions    int
	only        string
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o := options{}
	flags := flag.NewFlagSet("gatebench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.binary, "server", "", "a server that is built already; empty builds cmd/portcullis")
	flags.StringVar(&o.agent, "agent", "", "an agent that is built already; empty builds cmd/portcullis-agent")
	flags.IntVar(&o.quarantines, "quarantines", 1000, "how many there are where many are meant")
	flags.IntVar(&o.rounds, "rounds", 41, "how many rounds the two webhooks take turns")
	flags.IntVar(&o.reviews, "reviews", 500, "how many reviews each gets in a round")
	flags.BoolVar(&o.mirrors, "mirrors", true, "whether the policy of mirrors is there beside that of Quarantines")
	flags.IntVar(&o.execs, "execs", 200, "how many execs are measured for one number of Quarantines, three times")
	flags.IntVar(&o.trials, "trials", 60, "how often a pod makes a request and somebody tries to get into it, per row")
	flags.IntVar(&o.sessions, "sessions", 200, "how many exec sessions are ended, one after the other")
	flags.StringVar(&o.only, "only", "", "only one of verdict, exec, window, kill")
	empty := flags.String("empty", "", "be the empty webhook, at this `address`; for the process that the command starts")
	certificates := flags.String("certificates", "", "the empty webhook's `directory` of tls.crt and tls.key")
	if err := flags.Parse(args); err != nil {
		return err
	}
	crlog.SetLogger(logr.Discard()) // a global of the library, which says so otherwise
	if *empty != "" {
		return serveEmpty(ctx, *empty, *certificates)
	}
	var verdict error
	err := standalone.Run(ctx, standalone.Options{Name: "portcullis-gatebench", Log: stderr}, func(t standalone.TB) { //nolint:contextcheck // it has the context
		wants := func(what string) bool { return o.only == "" || o.only == what }
		fmt.Fprintf(stdout, "load when it began: %s\n\n", load())
		if wants("exec") {
			printExecs(t, stdout, o)
		}
		if wants("verdict") {
			verdict = printVerdicts(t, stdout, o)
		}
		if wants("window") {
			printWindows(t, stdout, o)
		}
		if wants("kill") {
			printKills(t, stdout, o)
		}
	})
	return errors.Join(err, verdict)
}

// load is what else the machine does.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "not known"
	}
	return strings.TrimSpace(string(text))
}
