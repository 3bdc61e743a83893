package kerneltest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// Main runs a package's tests and ends the process. It fails when they leave
// goroutines behind, or descriptors: eBPF maps, programs and links live as long
// as theirs, so none of those can be left either.
func Main(m *testing.M) {
	before := descriptors()
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, "goroutines are left:", err)
			code = 1
		}
		for fd, what := range descriptors() {
			if before[fd] != what {
				fmt.Fprintf(os.Stderr, "descriptor %s is left: %s\n", fd, what)
				code = 1
			}
		}
	}
	os.Exit(code)
}

// Patience is how long something may take that must come: longer on a machine
// that is emulated, as hack/test-kernels.sh says in the environment.
func Patience() time.Duration {
	if os.Getenv("PORTCULLIS_KERNEL_TEST") != "" {
		return 3 * time.Minute
	}
	return 30 * time.Second
}

// descriptors are those that are open, by number, but for what Go's runtime keeps for itself.
func descriptors() map[string]string {
	open := map[string]string{}
	names, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		return open
	}
	for _, name := range names {
		what, err := os.Readlink(name)
		if err != nil || strings.Contains(what, "[eventpoll]") || strings.Contains(what, "[eventfd]") || strings.Contains(what, "[pidfd]") {
			continue
		}
		open[filepath.Base(name)] = what
	}
	return open
}
