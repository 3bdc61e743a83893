// Command release builds Portcullis' images without Docker: static binaries,
// put into one archive per image. The Dockerfile at the root of the repository
// makes the server's and the agent's images likewise for those who have Docker.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/portcullis-dev/portcullis/hack/image"
)

// nonRoot is the user that an image runs as where nothing else is said, as in
// the distroless images.
const nonRoot = "65532:65532"

// authorities are what the server trusts a notification endpoint by, where its
// configuration names nothing else.
const authorities = "/etc/ssl/certs/ca-certificates.crt"

// images are what is released. The agent needs capabilities that the chart
// grants; with a user other than root the kernel would not pass them on.
var images = []struct {
	name, command, user string
	files               []image.File
}{
	{"portcullis", "./cmd/portcullis", nonRoot, []image.File{{Path: authorities, Source: authorities}}},
	{"portcullis-agent", "./cmd/portcullis-agent", "0:0", nil},
}

func main() {
	version := flag.String("version", "dev", "`version` that the binaries show")
	output := flag.String("output", "dist", "`folder` for the archives")
	repository := flag.String("repository", "localhost", "`registry and path` in front of the image names")
	tag := flag.String("tag", "dev", "the images' `tag`")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := releaseAll(ctx, *version, *output, *repository, *tag)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "release: %v\n", err)
		os.Exit(1)
	}
}

func releaseAll(ctx context.Context, version, output, repository, tag string) error {
	if err := os.MkdirAll(output, 0o755); err != nil { //nolint:gosec // archives are for everybody to read
		return err
	}
	for _, img := range images {
		start := time.Now()
		path := filepath.Join(output, img.name+".tar")
		ref := repository + "/" + img.name + ":" + tag
		if err := release(ctx, img.command, version, path, ref, img.user, img.files); err != nil {
			return err
		}
		fmt.Printf("%s  %s  %.1f s\n", path, ref, time.Since(start).Seconds())
	}
	return nil
}

func release(ctx context.Context, command, version, path, ref, user string, files []image.File) error {
	scratch, err := os.MkdirTemp("", "portcullis-release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)

	name := filepath.Base(command)
	binary := filepath.Join(scratch, name)
	//nolint:gosec // whoever runs this chooses the version
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w -X main.version="+version, "-o", binary, command)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stdout, build.Stderr = os.Stdout, os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build %s: %w", command, err)
	}
	return image.Write(path, ref, image.Spec{
		Files:      append([]image.File{{Path: "/" + name, Source: binary, Mode: 0o755}}, files...),
		Entrypoint: []string{"/" + name},
		User:       user,
	})
}
