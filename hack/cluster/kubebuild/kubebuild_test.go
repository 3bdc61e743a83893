package kubebuild

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// module writes a module of the same shape as the real one, that builds in a moment.
func module(tb testing.TB, version string) string {
	tb.Helper()
	dir := filepath.Join(tb.TempDir(), modulePath)
	files := map[string]string{
		"go.mod":             "module example.com/" + modulePath + "\n\ngo 1.24\n\nrequire k8s.io/kubernetes " + version + "\n\nreplace k8s.io/kubernetes => ./kubernetes\n",
		"kubernetes/go.mod":  "module k8s.io/kubernetes\n\ngo 1.24\n",
		"kubernetes/kube.go": "package kubernetes\n\n// Name is printed.\nconst Name = \"it\"\n",
	}
	for program := range links() {
		// The comment keeps the Go build cache from having it already.
		files["cmd/"+program+"/main.go"] = "package main // " + dir + "\n\nimport \"k8s.io/kubernetes\"\n\nfunc main() { println(kubernetes.Name) }\n"
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return dir
}

func source(tb testing.TB, dir string) Source {
	tb.Helper()
	s, err := ReadSource(dir)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// heard remembers what a build says.
type heard struct {
	compiled, linked []string
	done, total      int
}

func (h *heard) Downloading(string, int) {}

func (h *heard) Compiling(pkg string, done, total int) {
	h.compiled, h.done, h.total = append(h.compiled, pkg), done, total
}

func (h *heard) Linking(program string) { h.linked = append(h.linked, program) }

func TestBuild(t *testing.T) {
	cache := t.TempDir()
	from := source(t, module(t, "v1.2.3"))
	progress := &heard{}
	dir, err := Build(t.Context(), cache, from, progress)
	if err != nil {
		t.Fatal(err)
	}
	for binary, names := range links() {
		for _, name := range append(names, binary) {
			output, runErr := exec.Command(filepath.Join(dir, name)).CombinedOutput()
			if runErr != nil || string(output) != "it\n" {
				t.Errorf("%s prints %q (%v)", name, output, runErr)
			}
		}
	}
	slices.Sort(progress.linked)
	if diff := cmp.Diff([]string{"clients", "kube", "pause"}, progress.linked); diff != "" {
		t.Errorf("linked (-want +got):\n%s", diff)
	}
	if progress.done != progress.total || progress.total < len(links()) {
		t.Errorf("ended at %d of %d packages", progress.done, progress.total)
	}

	again := &heard{}
	cached, err := Build(t.Context(), cache, from, again)
	if err != nil || cached != dir || len(again.compiled) != 0 {
		t.Errorf("the second build: %s, %v, compiled %v", cached, err, again.compiled)
	}
}

func TestBuildLeavesNothingHalfDone(t *testing.T) {
	cache := t.TempDir()
	dir := module(t, "v1.2.3")
	broken := filepath.Join(dir, "cmd", "kube", "main.go")
	if err := os.WriteFile(broken, []byte("package main\n\nfunc main() { undefined() }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Build(t.Context(), cache, source(t, dir), &heard{})
	if err == nil || !strings.Contains(err.Error(), "undefined: undefined") {
		t.Errorf("error %v, want the compiler's", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = Build(ctx, cache, source(t, module(t, "v1.2.3")), &heard{}); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(cache, "kubernetes-*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left in the cache: %v (%v)", left, err)
	}
}

func TestBuildTwiceAtOnce(t *testing.T) {
	cache := t.TempDir()
	from := source(t, module(t, "v1.2.3"))
	progress := []*heard{{}, {}}
	var building sync.WaitGroup
	for _, p := range progress {
		building.Go(func() {
			if _, err := Build(t.Context(), cache, from, p); err != nil {
				t.Error(err)
			}
		})
	}
	building.Wait()
	if len(progress[0].linked) > 0 && len(progress[1].linked) > 0 {
		t.Error("both built")
	}
}

func TestSourceIDChangesWithTheSource(t *testing.T) {
	dir := module(t, "v1.2.3")
	before := source(t, dir)
	if again := source(t, dir); again != before {
		t.Errorf("the same source gave %+v and %+v", before, again)
	}
	main := filepath.Join(dir, "cmd", "pause", "main.go")
	text, err := os.ReadFile(main)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(main, append(text, "// more\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	if after := source(t, dir); after.ID == before.ID {
		t.Error("another program, but the same ID")
	}
	if other := source(t, module(t, "v1.2.4")); other.ID == before.ID || other.Version != "v1.2.4" {
		t.Errorf("another version: %+v", other)
	}
}

func TestFindSource(t *testing.T) {
	dir := module(t, "v1.2.3")
	deep := filepath.Join(dir, "cmd", "kube")
	found, err := FindSource(deep)
	if err != nil || found.Dir != dir {
		t.Errorf("from %s: %s, %v", deep, found.Dir, err)
	}
	// From elsewhere, it is the module beside this package.
	own, err := FindSource(t.TempDir())
	if err != nil || !strings.HasSuffix(own.Dir, modulePath) || !strings.HasPrefix(own.Version, "v1.") {
		t.Errorf("from elsewhere: %+v, %v", own, err)
	}
}

func TestKubernetesVersion(t *testing.T) {
	for text, want := range map[string]string{
		"require k8s.io/kubernetes v1.36.3\n":                              "v1.36.3",
		"require (\n\tk8s.io/kubernetes v1.36.3\n)\n":                      "v1.36.3",
		"require (\n\tk8s.io/kubernetes v1.37.0-rc.1 // indirect\n)\n":     "v1.37.0-rc.1",
		"require (\n\tk8s.io/kubernetesque v1.36.3\n)\n":                   "",
		"replace (\n\tk8s.io/kubernetes => k8s.io/kubernetes v1.36.3\n)\n": "",
	} {
		got, err := kubernetesVersion(text)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("version of %q: %q, %v, want %q", text, got, err, want)
		}
	}
}

func TestCounterCountsWhatIsImported(t *testing.T) {
	c := newCounter([]listedPackage{
		{ImportPath: "unsafe"},
		{ImportPath: "a"},
		{ImportPath: "b", Deps: []string{"a", "unsafe"}},
		{ImportPath: "c", Deps: []string{"C", "b", "a", "unsafe"}},
		{ImportPath: "x/" + modulePath + "/cmd/kube", Deps: []string{"a", "b", "c", "unsafe"}},
	})
	if c.begin("# a") || c.count() != 0 {
		t.Error("a compiler's message was taken for a package")
	}
	if !c.begin("b") || c.count() != 3 || c.total() != 5 {
		t.Errorf("after b, which imports two: %d of %d", c.count(), c.total())
	}
	if !c.begin("c") || c.count() != 4 {
		t.Errorf("after c: %d", c.count())
	}
	if _, ok := c.program("c"); ok {
		t.Error("a library was taken for a program")
	}
	if name, ok := c.program("x/" + modulePath + "/cmd/kube"); !ok || name != "kube" {
		t.Errorf("program %q, %t", name, ok)
	}
}

func TestLineWriter(t *testing.T) {
	var lines []string
	w := &lineWriter{each: func(line string) { lines = append(lines, line) }}
	for _, text := range []string{"one\ntw", "o\n", "", "three", "\n\nend"} {
		if n, err := fmt.Fprint(w, text); err != nil || n != len(text) {
			t.Errorf("Write(%q) = %d, %v", text, n, err)
		}
	}
	if diff := cmp.Diff([]string{"one", "two", "three", ""}, lines); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	if last := w.lastLines(); !strings.HasSuffix(last, "three\n\nend") {
		t.Errorf("last lines %q", last)
	}
}
