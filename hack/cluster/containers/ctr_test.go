package containers

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// standIn puts a program named ctr in front of PATH that prints what it is given.
func standIn(tb testing.TB, script string) {
	tb.Helper()
	dir := tb.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ctr"), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		tb.Fatal(err)
	}
	tb.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestImport(t *testing.T) {
	standIn(t, `test "$*" = "--address /s.sock --namespace k8s.io images import a.tar" || { echo "called with $*" >&2; exit 1; }
echo "unpacking localhost/shell:1 (sha256:9af35ac1)...done"
echo "unpacking docker.io/library/x:2 (sha256:d2b833ea)...done"
`)
	names, err := NewClient("/s.sock").Import(t.Context(), "a.tar")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"localhost/shell:1", "docker.io/library/x:2"}, names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

func TestImages(t *testing.T) {
	standIn(t, "echo localhost/shell:1; echo sha256:9af35ac1\n")
	names, err := NewClient("/s.sock").Images(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"localhost/shell:1"}, names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

func TestErrorsSayWhatContainerdSaid(t *testing.T) {
	standIn(t, "echo 'ctr: unrecognized image format' >&2; exit 1\n")
	_, err := NewClient("/s.sock").Import(t.Context(), "notes.txt")
	if err == nil || !strings.Contains(err.Error(), "notes.txt") || !strings.Contains(err.Error(), "unrecognized image format") {
		t.Errorf("error %v", err)
	}
}
