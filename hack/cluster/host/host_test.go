package host

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-dev/portcullis/hack/cluster/layout"
)

func TestOverlapping(t *testing.T) {
	tests := []struct {
		name, routes string
		want         []string
	}{
		{"a usual machine", "default via 192.0.2.1 dev eth0\n192.0.2.0/24 dev eth0 proto kernel scope link src 192.0.2.7\n172.17.0.0/16 dev docker0\n", nil},
		{"our own link", "10.123.0.0/24 dev portcullis0 proto kernel\n10.244.0.0/24 via 10.123.0.1 dev portcullis0\n", nil},
		{"a cluster's node", "10.244.1.0/24 via 192.0.2.8 dev eth0\n10.244.0.0/24 dev cni0\n", []string{"10.244.0.0/24 dev cni0"}},
		{"a wide route", "10.0.0.0/8 via 192.0.2.2 dev tun0\n", []string{"10.0.0.0/8 via 192.0.2.2 dev tun0"}},
		{"one address", "10.96.3.4 dev lo\n", []string{"10.96.3.4 dev lo"}},
		{"rubbish", "\nunreachable x\n", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, overlapping(test.routes)); diff != "" {
				t.Errorf("routes in the way (-want +got):\n%s", diff)
			}
		})
	}
}

func TestToolPresent(t *testing.T) {
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{"sh": true, "no-such-program-anywhere": false, program: true, plain: false, t.TempDir(): false} {
		if got := (Tool{Program: path}).present(); got != want {
			t.Errorf("%s: present %t, want %t", path, got, want)
		}
	}
}

func TestToolsHavePackages(t *testing.T) {
	for _, tool := range Tools() {
		if tool.Program == "" || tool.Package == "" {
			t.Errorf("%+v", tool)
		}
	}
}

func TestInstallSaysWhenThereIsNoApt(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	err := Install(t.Context(), os.Stderr, []string{"runc", "socat"})
	if err == nil || !strings.Contains(err.Error(), "runc, socat") || !strings.Contains(err.Error(), "by hand") {
		t.Errorf("error %v", err)
	}
}

// A stand-in for apt-get that fails until it has been told to update.
func TestInstallUpdatesTheListsWhenNeeded(t *testing.T) {
	dir := t.TempDir()
	calls := filepath.Join(dir, "calls")
	script := "#!/bin/sh\necho \"$*\" >>" + calls + "\ntest \"$1\" = update && : >" + dir + "/updated\ntest -e " + dir + "/updated\n"
	if err := os.WriteFile(filepath.Join(dir, "apt-get"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	if err := Install(t.Context(), os.Stderr, []string{"runc"}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(calls)
	if err != nil {
		t.Fatal(err)
	}
	const install = "install --yes --no-install-recommends runc"
	if diff := cmp.Diff(install+"\nupdate\n"+install+"\n", string(text)); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func TestPreflightAdvisesOnEverythingThatIsNotOK(t *testing.T) {
	l, err := layout.New(t.TempDir()[:5], "/bin")
	if err != nil {
		t.Fatal(err)
	}
	checks := Preflight(t.Context(), l)
	if len(checks) == 0 {
		t.Fatal("nothing was checked")
	}
	for _, check := range checks {
		if check.Name == "" || check.Found == "" || (check.Verdict == Missing && check.Advice == "") {
			t.Errorf("%+v", check)
		}
	}
	root := slices.IndexFunc(checks, func(c Check) bool { return c.Name == "root" })
	if wantOK := os.Geteuid() == 0; (checks[root].Verdict == OK) != wantOK {
		t.Errorf("root: %+v", checks[root])
	}
}

func TestExisting(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{dir: dir, filepath.Join(dir, "a", "b"): dir, "/": "/", "/no/such/place": "/"} {
		if got := existing(path); got != want {
			t.Errorf("existing(%s) = %s, want %s", path, got, want)
		}
	}
}
