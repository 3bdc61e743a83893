package image

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// epoch is the time of everything in an image: when it was built is no part of what it is.
func epoch() time.Time { return time.Unix(0, 0).UTC() }

// Write writes the image as an OCI archive at path, replacing what
// is there in one step, so that a reader never sees half an archive. The
// reference is what the image is called after import ("localhost/pause:1").
func Write(path, ref string, spec Spec) (err error) {
	tag, err := name.NewTag(ref)
	if err != nil {
		return fmt.Errorf("image reference: %w", err)
	}
	scratch, err := os.MkdirTemp(filepath.Dir(path), ".image-*")
	if err != nil {
		return fmt.Errorf("write image: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()

	img, err := build(filepath.Join(scratch, "layer.tar.gz"), spec)
	if err != nil {
		return fmt.Errorf("image %s: %w", ref, err)
	}
	archive := filepath.Join(scratch, "image.tar")
	if err := writeArchive(archive, filepath.Join(scratch, "layout"), tag, img); err != nil {
		return fmt.Errorf("write image %s: %w", ref, err)
	}
	if err := os.Rename(archive, path); err != nil {
		return fmt.Errorf("write image %s: %w", ref, err)
	}
	return nil
}

// build puts the layer at layerPath and returns an image of it. The layer is
// on disk, not in memory, because the library reads it once per digest.
func build(layerPath string, spec Spec) (v1.Image, error) {
	entries, err := spec.entries()
	if err != nil {
		return nil, err
	}
	if err = writeLayerFile(layerPath, entries); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromFile(layerPath, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, fmt.Errorf("read layer: %w", err)
	}
	oci := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.ConfigFile(oci, spec.configFile())
	if err != nil {
		return nil, fmt.Errorf("image configuration: %w", err)
	}
	img, err = mutate.Append(img, mutate.Addendum{Layer: layer, History: v1.History{Created: v1.Time{Time: epoch()}}})
	if err != nil {
		return nil, fmt.Errorf("append layer: %w", err)
	}
	return img, nil
}

func (s Spec) configFile() *v1.ConfigFile {
	return &v1.ConfigFile{
		OS:           "linux",
		Architecture: s.architecture(),
		Created:      v1.Time{Time: epoch()},
		Config: v1.Config{
			Entrypoint: s.Entrypoint,
			Cmd:        s.Cmd,
			Env:        s.Env,
			User:       s.User,
			WorkingDir: s.workingDir(),
			Labels:     s.Labels,
		},
		RootFS: v1.RootFS{Type: "layers"},
	}
}

func writeLayerFile(path string, entries []File) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write layer: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()

	// Speed over size: test images are made anew often and travel nowhere.
	zipped, err := gzip.NewWriterLevel(file, gzip.BestSpeed)
	if err != nil {
		return fmt.Errorf("write layer: %w", err)
	}
	if err := writeLayer(zipped, entries); err != nil {
		return err
	}
	if err := zipped.Close(); err != nil {
		return fmt.Errorf("write layer: %w", err)
	}
	return nil
}

func writeLayer(w io.Writer, entries []File) error {
	layer := tar.NewWriter(w)
	for _, entry := range entries {
		if err := writeEntry(layer, entry); err != nil {
			return fmt.Errorf("file %q: %w", entry.Path, err)
		}
	}
	if err := layer.Close(); err != nil {
		return fmt.Errorf("write layer: %w", err)
	}
	return nil
}

func writeEntry(layer *tar.Writer, entry File) error {
	header := &tar.Header{
		Name:    strings.TrimPrefix(entry.Path, "/"),
		Mode:    tarMode(entry.Mode),
		Uid:     entry.UID,
		Gid:     entry.GID,
		ModTime: epoch(),
		Format:  tar.FormatPAX,
	}
	switch {
	case entry.Dir:
		header.Typeflag, header.Name = tar.TypeDir, header.Name+"/"
		return layer.WriteHeader(header)
	case entry.Link != "":
		header.Typeflag, header.Linkname = tar.TypeSymlink, entry.Link
		return layer.WriteHeader(header)
	case entry.Source != "":
		return copyFile(layer, header, entry.Source)
	default:
		header.Typeflag, header.Size = tar.TypeReg, int64(len(entry.Content))
		if err := layer.WriteHeader(header); err != nil {
			return err
		}
		_, err := layer.Write(entry.Content)
		return err
	}
}

func copyFile(layer *tar.Writer, header *tar.Header, source string) error {
	file, err := os.Open(source)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // only read

	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("source %s is not a regular file", source)
	}
	header.Typeflag, header.Size = tar.TypeReg, info.Size()
	if err = layer.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(layer, file)
	return err
}

// tarMode spells the few bits beyond the permissions that tar writes differently from Go.
func tarMode(mode fs.FileMode) int64 {
	bits := int64(mode.Perm())
	for flag, bit := range map[fs.FileMode]int64{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if mode&flag != 0 {
			bits |= bit
		}
	}
	return bits
}
