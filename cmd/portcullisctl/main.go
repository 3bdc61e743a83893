// Command portcullisctl is Portcullis' command line. Installed as
// kubectl-portcullis it is also the plugin "kubectl portcullis".
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/portcullis-dev/portcullis/ctl"
)

// version is set by the linker; see the Makefile.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	command := ctl.NewCommand(ctl.Options{
		Program: filepath.Base(os.Args[0]),
		Version: version,
		Streams: genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr},
	})
	err := command.ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, ctl.Explain(err))
		os.Exit(1)
	}
}
