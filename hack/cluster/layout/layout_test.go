package layout_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/portcullis-dev/portcullis/hack/cluster/layout"
)

func TestNewRefuses(t *testing.T) {
	for name, state := range map[string]string{
		"the root":               "/",
		"too long for a socket":  "/" + strings.Repeat("x", 80),
		"the root, in disguise":  "/var/..",
		"too long when absolute": strings.Repeat("y/", 40),
	} {
		if l, err := layout.New(state, "/bin"); err == nil {
			t.Errorf("%s: accepted as %s", name, l.State)
		}
	}
}

func TestEverythingDisposableIsBelowTheStateDirectory(t *testing.T) {
	l, err := layout.New("/var/lib/example", "/opt/bin")
	if err != nil {
		t.Fatal(err)
	}
	if len(l.Disposable()) == 0 {
		t.Fatal("nothing is disposable")
	}
	for _, path := range l.Disposable() {
		inside, err := filepath.Rel(l.State, path)
		if err != nil || inside == "." || strings.HasPrefix(inside, "..") {
			t.Errorf("%s is not inside %s", path, l.State)
		}
		if path == l.Logs() || path == l.PreviousLogs() {
			t.Errorf("the logs are disposable: %s", path)
		}
	}
}

func TestSocketsFitTheKernel(t *testing.T) {
	const longest = 107 // the kernel's 108 less the final zero
	l, err := layout.New("/"+strings.Repeat("s", 59), "/bin")
	if err != nil {
		t.Fatal(err)
	}
	for _, socket := range []string{l.ControlSocket(), l.ContainerdSocket() + ".ttrpc"} {
		if len(socket) > longest {
			t.Errorf("%s has %d bytes, at most %d fit", socket, len(socket), longest)
		}
	}
}
