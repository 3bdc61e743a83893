package image_test

import (
	"archive/tar"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"github.com/portcullis-dev/portcullis/hack/image"
)

const ref = "localhost/example:1"

func sample(tb testing.TB) image.Spec {
	tb.Helper()
	binary := filepath.Join(tb.TempDir(), "program")
	if err := os.WriteFile(binary, []byte("machine code"), 0o600); err != nil {
		tb.Fatal(err)
	}
	return image.Spec{
		Files: []image.File{
			{Path: "/usr/bin/program", Source: binary, Mode: 0o755},
			{Path: "/bin/sh", Link: "/usr/bin/program"},
			{Path: "/etc/hosts", Content: []byte("127.0.0.1 localhost\n")},
			{Path: "/etc/empty"},
			{Path: "/tmp", Dir: true, Mode: fs.ModeSticky | 0o777},
			{Path: "/home/user", Dir: true, UID: 1000, GID: 1001},
			{Path: "/usr/bin/su", Content: []byte("x"), Mode: fs.ModeSetuid | 0o755},
		},
		Entrypoint:   []string{"/usr/bin/program", "--flag"},
		Cmd:          []string{"argument"},
		Env:          []string{"PATH=/usr/bin"},
		User:         "65532:65532",
		Labels:       map[string]string{"org.opencontainers.image.title": "example"},
		Architecture: "arm64",
	}
}

func write(tb testing.TB, spec image.Spec) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "image.tar")
	if err := image.Write(path, ref, spec); err != nil {
		tb.Fatalf("Write: %v", err)
	}
	return path
}

// open reads the archive as an OCI image layout and returns its only image.
func open(tb testing.TB, path string) v1.Image {
	tb.Helper()
	index, err := layout.ImageIndexFromPath(extract(tb, path))
	if err != nil {
		tb.Fatalf("the archive is no OCI layout: %v", err)
	}
	manifest, err := index.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 {
		tb.Fatalf("the archive has %v (%v), want one image", manifest, err)
	}
	annotations := manifest.Manifests[0].Annotations
	if annotations["io.containerd.image.name"] != ref || annotations["org.opencontainers.image.ref.name"] != "1" {
		tb.Errorf("the image is called %v, want %s", annotations, ref)
	}
	img, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		tb.Fatal(err)
	}
	return img
}

// extract unpacks an archive of regular files into a temporary directory.
func extract(tb testing.TB, path string) string {
	tb.Helper()
	file, err := os.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer file.Close()
	dir := tb.TempDir()
	for archive := tar.NewReader(file); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		if err != nil {
			tb.Fatal(err)
		}
		body, err := io.ReadAll(archive)
		if err != nil {
			tb.Fatal(err)
		}
		target := filepath.Join(dir, filepath.FromSlash(header.Name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(target), 0o755), os.WriteFile(target, body, 0o600)); err != nil {
			tb.Fatal(err)
		}
	}
}

// entry is what a layer says of one file.
type entry struct {
	Name, Link, Content string
	Type                byte
	Mode                int64
	UID, GID            int
}

func entries(tb testing.TB, img v1.Image) []entry {
	tb.Helper()
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		tb.Fatalf("%d layers (%v), want 1", len(layers), err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		tb.Fatal(err)
	}
	defer content.Close()
	var found []entry
	for reader := tar.NewReader(content); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			tb.Fatal(err)
		}
		if unix := header.ModTime.Unix(); unix != 0 {
			tb.Errorf("%s is dated %d, want the epoch", header.Name, unix)
		}
		body, err := io.ReadAll(reader)
		if err != nil {
			tb.Fatal(err)
		}
		found = append(found, entry{header.Name, header.Linkname, string(body), header.Typeflag, header.Mode, header.Uid, header.Gid})
	}
}

func TestWriteLayer(t *testing.T) {
	got := entries(t, open(t, write(t, sample(t))))
	want := []entry{
		{Name: "bin/", Type: tar.TypeDir, Mode: 0o755},
		{Name: "bin/sh", Type: tar.TypeSymlink, Link: "/usr/bin/program", Mode: 0o755},
		{Name: "etc/", Type: tar.TypeDir, Mode: 0o755},
		{Name: "etc/empty", Type: tar.TypeReg, Mode: 0o644},
		{Name: "etc/hosts", Type: tar.TypeReg, Mode: 0o644, Content: "127.0.0.1 localhost\n"},
		{Name: "home/", Type: tar.TypeDir, Mode: 0o755},
		{Name: "home/user/", Type: tar.TypeDir, Mode: 0o755, UID: 1000, GID: 1001},
		{Name: "tmp/", Type: tar.TypeDir, Mode: 0o1777},
		{Name: "usr/", Type: tar.TypeDir, Mode: 0o755},
		{Name: "usr/bin/", Type: tar.TypeDir, Mode: 0o755},
		{Name: "usr/bin/program", Type: tar.TypeReg, Mode: 0o755, Content: "machine code"},
		{Name: "usr/bin/su", Type: tar.TypeReg, Mode: 0o4755, Content: "x"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("layer (-want +got):\n%s", diff)
	}
}

func TestWriteConfiguration(t *testing.T) {
	spec := sample(t)
	config, err := open(t, write(t, spec)).ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.OS != "linux" || config.Architecture != "arm64" {
		t.Errorf("platform %s/%s, want linux/arm64", config.OS, config.Architecture)
	}
	if unix := config.Created.Unix(); unix != 0 {
		t.Errorf("created at %d, want the epoch", unix)
	}
	want := v1.Config{
		Entrypoint: spec.Entrypoint, Cmd: spec.Cmd, Env: spec.Env, User: spec.User, Labels: spec.Labels, WorkingDir: "/",
	}
	if diff := cmp.Diff(want, config.Config); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
}

func TestWriteIsReproducible(t *testing.T) {
	spec := sample(t)
	first, err := os.ReadFile(write(t, spec))
	if err != nil {
		t.Fatal(err)
	}
	// Neither the order of the files nor the time of the source matters.
	for i, j := 0, len(spec.Files)-1; i < j; i, j = i+1, j-1 {
		spec.Files[i], spec.Files[j] = spec.Files[j], spec.Files[i]
	}
	second, err := os.ReadFile(write(t, spec))
	if err != nil {
		t.Fatal(err)
	}
	if string(first) != string(second) {
		t.Error("the same files in another order gave another archive")
	}
	spec.Files = append(spec.Files, image.File{Path: "/more"})
	third, err := os.ReadFile(write(t, spec))
	if err != nil {
		t.Fatal(err)
	}
	if string(first) == string(third) {
		t.Error("one more file gave the same archive")
	}
}

func TestWriteRefuses(t *testing.T) {
	tests := []struct {
		name, ref string
		files     []image.File
		want      string
	}{
		{"bad reference", "UPPER CASE", nil, "image reference"},
		{"relative path", ref, []image.File{{Path: "bin/sh"}}, "not absolute"},
		{"unclean path", ref, []image.File{{Path: "/bin/../../etc/passwd"}}, "not absolute and clean"},
		{"root itself", ref, []image.File{{Path: "/", Dir: true}}, "not absolute and clean"},
		{"two kinds", ref, []image.File{{Path: "/x", Link: "y", Dir: true}}, "more than one of"},
		{"twice", ref, []image.File{{Path: "/x"}, {Path: "/x"}}, "given twice"},
		{"file as parent", ref, []image.File{{Path: "/x"}, {Path: "/x/y"}}, "not a directory"},
		{"no source", ref, []image.File{{Path: "/x", Source: "/nowhere/at/all"}}, "no such file"},
		{"directory as source", ref, []image.File{{Path: "/x", Source: "/"}}, "not a regular file"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "image.tar")
			err := image.Write(path, test.ref, image.Spec{Files: test.files})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
			left, readErr := os.ReadDir(dir)
			if readErr != nil || len(left) != 0 {
				t.Errorf("a failed Write left %v (%v)", left, readErr)
			}
		})
	}
}

func TestWriteReplacesOnlyWhenItSucceeds(t *testing.T) {
	path := write(t, sample(t))
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if image.Write(path, ref, image.Spec{Files: []image.File{{Path: "relative"}}}) == nil {
		t.Fatal("Write accepted a relative path")
	}
	after, err := os.ReadFile(path)
	if err != nil || string(after) != string(before) {
		t.Errorf("a failed Write touched the archive of before (%v)", err)
	}
}
