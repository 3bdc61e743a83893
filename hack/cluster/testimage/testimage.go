package testimage

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/portcullis-dev/portcullis/hack/cluster/layout"
	"github.com/portcullis-dev/portcullis/hack/image"
)

// searchPath is PATH in the shell image.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// realPrograms are executed as themselves, never through busybox.
func realPrograms() []string {
	return []string{
		"bash", "cat", "chmod", "cp", "curl", "date", "dash", "dd", "echo", "env", "find", "grep", "head", "hostname", "id",
		"kill", "ln", "ls", "mkdir", "mv", "printenv", "ps", "pwd", "readlink", "rm", "sleep", "sort", "stat", "tail", "tar", "tee",
		"touch", "true", "uname", "wc", "wget", "whoami",
	}
}

// optional are programs of packages that a small Debian may lack; busybox has them too.
func optional() []string { return []string{"ps", "wget", "hostname"} }

const caBundle = "/etc/ssl/certs/ca-certificates.crt"

// Pause returns the pause image's content, of the static binary at path.
func Pause(binary string) image.Spec {
	return image.Spec{
		Files:      []image.File{{Path: "/pause", Source: binary, Mode: 0o755}},
		Entrypoint: []string{"/pause"},
		User:       "65535:65535",
	}
}

// Shell returns the shell image's content, gathered from this machine.
func Shell(ctx context.Context) (image.Spec, error) {
	gathered := map[string]image.File{}
	for _, program := range realPrograms() {
		source, err := exec.LookPath(program)
		if err != nil && slices.Contains(optional(), program) {
			continue
		}
		if err != nil {
			return image.Spec{}, fmt.Errorf("shell image: %w", err)
		}
		add(gathered, image.File{Path: path.Join("/bin", program), Source: source, Mode: 0o755})
		libraries, err := libraries(ctx, source)
		if err != nil {
			return image.Spec{}, fmt.Errorf("shell image: %w", err)
		}
		for _, library := range libraries {
			add(gathered, image.File{Path: library, Source: library, Mode: 0o755})
		}
	}
	add(gathered, image.File{Path: "/bin/sh", Link: "dash"})
	if err := addBusybox(ctx, gathered); err != nil {
		return image.Spec{}, fmt.Errorf("shell image: %w", err)
	}
	for _, file := range skeleton() {
		add(gathered, file)
	}
	files := make([]image.File, 0, len(gathered))
	for _, file := range gathered {
		files = append(files, file)
	}
	return image.Spec{Files: files, Cmd: []string{"/bin/sh"}, Env: []string{"PATH=" + searchPath}}, nil
}

// add keeps the first entry of a path: real programs come before busybox.
func add(files map[string]image.File, file image.File) {
	if _, taken := files[file.Path]; !taken {
		files[file.Path] = file
	}
}

// addBusybox adds it with a link for every program that is not there yet.
func addBusybox(ctx context.Context, files map[string]image.File) error {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return err
	}
	output, err := exec.CommandContext(ctx, busybox, "--list").Output() //nolint:gosec // found in PATH
	if err != nil {
		return fmt.Errorf("list busybox programs: %w", err)
	}
	add(files, image.File{Path: "/bin/busybox", Source: busybox, Mode: 0o755})
	for _, applet := range strings.Fields(string(output)) {
		add(files, image.File{Path: path.Join("/bin", path.Base(applet)), Link: "busybox"})
	}
	return nil
}

// skeleton is what programs expect besides themselves.
func skeleton() []image.File {
	files := []image.File{
		{Path: "/etc/passwd", Content: []byte("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")},
		{Path: "/etc/group", Content: []byte("root:x:0:\nuser:x:1000:\nnogroup:x:65534:\n")},
		{Path: "/etc/nsswitch.conf", Content: []byte("hosts: files dns\n")},
		{Path: "/root", Dir: true, Mode: 0o700},
		{Path: "/home/user", Dir: true, UID: 1000, GID: 1000},
		{Path: "/tmp", Dir: true, Mode: os.ModeSticky | 0o777},
		{Path: "/var/tmp", Dir: true, Mode: os.ModeSticky | 0o777},
		{Path: "/usr/bin/env", Link: "/bin/env"},
	}
	if _, err := os.Stat(caBundle); err == nil {
		files = append(files, image.File{Path: caBundle, Source: caBundle})
	}
	return files
}

// libraries returns the shared libraries and the loader of a program of this machine.
func libraries(ctx context.Context, program string) ([]string, error) {
	output, err := exec.CommandContext(ctx, "ldd", program).CombinedOutput() //nolint:gosec // found in PATH
	if err != nil {
		if strings.Contains(string(output), "not a dynamic executable") {
			return nil, nil
		}
		return nil, fmt.Errorf("libraries of %s: %w: %s", program, err, strings.TrimSpace(string(output)))
	}
	return parseLibraries(string(output))
}

// parseLibraries reads what ldd prints:
//
//	linux-vdso.so.1 (0x00007ffc)
//	libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)
//	/lib64/ld-linux-x86-64.so.2 (0x00007f)
func parseLibraries(output string) ([]string, error) {
	var found []string
	for line := range strings.Lines(output) {
		name, place, arrow := strings.Cut(strings.TrimSpace(line), " => ")
		if !arrow {
			place = name
		}
		place, _, _ = strings.Cut(place, " (")
		if place == "not found" {
			return nil, fmt.Errorf("library %s is not installed", name)
		}
		if filepath.IsAbs(place) {
			found = append(found, filepath.Clean(place))
		}
	}
	return found, nil
}

// Write writes both images' archives into dir. The pause binary is a static one.
func Write(ctx context.Context, dir, pauseBinary string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("test images: %w", err)
	}
	if err := image.Write(filepath.Join(dir, "pause.tar"), layout.PauseImage, Pause(pauseBinary)); err != nil {
		return err
	}
	shell, err := Shell(ctx)
	if err != nil {
		return err
	}
	return image.Write(filepath.Join(dir, "shell.tar"), layout.ShellImage, shell)
}
