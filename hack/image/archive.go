package image

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// Annotations by which those who import an archive learn what the image is
// called: the OCI image specification's holds the tag, containerd's the whole
// reference.
const (
	annotationTag       = "org.opencontainers.image.ref.name"
	annotationReference = "io.containerd.image.name"
)

// writeArchive writes the image as an OCI image layout into dir, and dir as a
// tarball to path.
func writeArchive(path, dir string, tag name.Tag, img v1.Image) error {
	index, err := layout.Write(dir, empty.Index)
	if err != nil {
		return fmt.Errorf("write OCI layout: %w", err)
	}
	if err := index.AppendImage(img, layout.WithAnnotations(map[string]string{
		annotationTag:       tag.TagStr(),
		annotationReference: tag.Name(),
	})); err != nil {
		return fmt.Errorf("write OCI layout: %w", err)
	}
	return tarDirectory(path, dir)
}

// tarDirectory writes the files below dir to a tarball, in the order of their names.
func tarDirectory(path, dir string) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	archive := tar.NewWriter(file)
	if err := filepath.WalkDir(dir, func(entry string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, entry)
		if err != nil {
			return err
		}
		return tarFile(archive, filepath.ToSlash(name), entry)
	}); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	return archive.Close()
}

func tarFile(archive *tar.Writer, name, source string) error {
	file, err := os.Open(source)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	header := &tar.Header{Name: name, Mode: 0o644, Size: info.Size(), ModTime: epoch(), Format: tar.FormatPAX}
	if err = archive.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(archive, file)
	return err
}
