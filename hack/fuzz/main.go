// Command fuzz runs every fuzz target of a module, or of some of its packages, for
// a while each, and says of each how far it came. It finds them by itself.
//
// It does what "go test -fuzz" does for one target, with two differences. Only the
// module's own packages are instrumented: others need not be compiled anew for it,
// which would take longer than the fuzzing, and what is learned is about our code.
// And inputs of interest are not made small at length, which in a run of seconds
// would leave no time for anything else.
//
// An input that fails is written to the package's testdata/fuzz, where every test
// run finds it from then on. Inputs of interest stay in Go's build cache.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"time"
)

func main() {
	each := flag.Duration("for", 3*time.Second, "how long each target runs")
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "Usage: go run ./hack/fuzz [--for 10m] [PACKAGES]\n\nPackages are written as for go test; all are ./... and that is the default.\n\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	patterns := flag.Args()
	if len(patterns) == 0 {
		patterns = []string{"./..."}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := fuzz(ctx, options{dir: ".", patterns: patterns, each: *each, processors: runtime.NumCPU(), out: os.Stdout})
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "fuzz: %v\n", err)
		os.Exit(1)
	}
}
