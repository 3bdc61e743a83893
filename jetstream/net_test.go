package jetstream

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tree writes a stream's files, and read reads them.
func tree(tb testing.TB, dir string, files map[string]string) {
	tb.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
}

func read(tb testing.TB, dir string) map[string]string {
	tb.Helper()
	files := map[string]string{}
	for _, pattern := range []string{"*", "*/*"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			tb.Fatal(err)
		}
		for _, path := range found {
			if text, err := os.ReadFile(path); err == nil {
				files[path[len(dir)+1:]] = string(text)
			}
		}
	}
	return files
}

// TestFileThatAKilledProcessHasLeftIsNoProblem leaves the file by which the server inside tries its directory.
func TestFileThatAKilledProcessHasLeftIsNoProblem(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, options(dir))
	openBus(t, s)
	left := filepath.Join(dir, "jetstream", "_test_123")
	if err := os.WriteFile(left, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := s.current()
	if err != nil {
		t.Fatal(err)
	}
	if err = e.health(s.ours); err != nil {
		t.Error(err)
	}
	shut(t, s)
	open(t, options(dir))
	if _, err = os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}

// TestNetHoldsWhateverAStartDoes kills a start after each of its steps: the next finds the stream as it was.
func TestNetHoldsWhateverAStartDoes(t *testing.T) {
	t.Parallel()
	whole := map[string]string{"meta.inf": "m", "msgs/1.blk": "one", "msgs/2.blk": "two"}
	part := map[string]string{"meta.inf": "m"}
	for name, prepare := range map[string]func(t *testing.T, d *directory){
		"before":                    func(t *testing.T, d *directory) { tree(t, d.stream("s"), whole) },
		"while it spreads":          func(t *testing.T, d *directory) { tree(t, d.stream("s"), whole); tree(t, d.caught("s"+partial), part) },
		"when it has spread":        func(t *testing.T, d *directory) { tree(t, d.stream("s"), whole); tree(t, d.caught("s"), whole) },
		"while a stream is deleted": func(t *testing.T, d *directory) { tree(t, d.stream("s"), part); tree(t, d.caught("s"), whole) },
		"when it is deleted":        func(t *testing.T, d *directory) { tree(t, d.caught("s"), whole) },
		"while it is released":      func(t *testing.T, d *directory) { tree(t, d.stream("s"), whole); tree(t, d.caught("s"+partial), part) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &directory{path: t.TempDir()}
			prepare(t, d)
			if err := d.spread(); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(whole, read(t, d.stream("s"))); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(whole, read(t, d.caught("s"))); diff != "" {
				t.Error(diff)
			}
			tree(t, d.stream("s"), map[string]string{"meta.inf.new": "more"})
			if err := d.takeBack("s"); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(whole, read(t, d.stream("s"))); diff != "" {
				t.Error(diff)
			}
			if err := d.release("s"); err != nil {
				t.Fatal(err)
			}
			if left, err := entries(d.caught("")); err != nil || len(left) > 0 {
				t.Errorf("%v is left in the net, error is %v", left, err)
			}
		})
	}
}
