package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func isRule(p string) bool { return HasExtension(p, ".toml") }

func walk(t *testing.T, fsys fs.FS) (found map[string]string, err error) {
	t.Helper()
	found = map[string]string{}
	err = Walk(fsys, "dir", isRule, func(f File) error {
		if f.Err != nil {
			found[f.Name] = "error: " + f.Err.Error()
		} else {
			found[f.Name] = f.Text
		}
		return nil
	})
	return found, err
}

func TestWalkFindsFilesAtAnyDepth(t *testing.T) {
	t.Parallel()
	found, err := walk(t, fstest.MapFS{
		"a.toml": {Data: []byte("a")}, "deep/er/b.toml": {Data: []byte("b")}, "c.yaml": {}, ".d.toml": {},
		".git/e.toml": {}, "large.toml": {Data: make([]byte, MaxFile+1)}, "exact.toml": {Data: make([]byte, MaxFile)},
	})
	want := map[string]string{
		"dir/a.toml": "a", "dir/deep/er/b.toml": "b", "dir/large.toml": "error: " + ErrTooLarge.Error(),
		"dir/exact.toml": strings.Repeat("\x00", MaxFile),
	}
	if diff := cmp.Diff(want, found); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
}

// A folder as Kubernetes mounts a ConfigMap, and what should not be in one.
func TestLinksAndPipes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(p string) {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, p)), 0o755), os.WriteFile(filepath.Join(dir, p), []byte(p), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	write("..2026/a.toml")
	link := func(target, p string) {
		if err := os.Symlink(target, filepath.Join(dir, p)); err != nil {
			t.Fatal(err)
		}
	}
	link("..2026", "..data")
	link("..data/a.toml", "a.toml")
	link("nowhere", "broken.toml")
	link(".", "circle.toml")
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe.toml"), 0o600); err != nil {
		t.Fatal(err)
	}
	found, err := walk(t, os.DirFS(dir))
	want := map[string]string{
		"dir/a.toml": "..2026/a.toml", "dir/pipe.toml": "error: is not a file", "dir/circle.toml": "error: is not a file",
		"dir/broken.toml": "error: no such file or directory",
	}
	if diff := cmp.Diff(want, found); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
}

func TestWalkIsBounded(t *testing.T) {
	t.Parallel()
	many := fstest.MapFS{}
	for i := range MaxFiles + 1 {
		many[fmt.Sprintf("%d.toml", i)] = &fstest.MapFile{}
	}
	if _, err := walk(t, many); err == nil || !strings.Contains(err.Error(), "dir: more than 16384 rule files") {
		t.Errorf("many files: %v", err)
	}
	deep := fstest.MapFS{strings.Repeat("d/", maxDepth+1) + "a.toml": {}}
	if _, err := walk(t, deep); err == nil || !strings.Contains(err.Error(), "nested more than 64 deep") {
		t.Errorf("deep folders: %v", err)
	}
	if _, err := walk(t, os.DirFS(filepath.Join(t.TempDir(), "none"))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
}
