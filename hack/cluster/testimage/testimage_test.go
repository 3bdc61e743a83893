package testimage

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-dev/portcullis/hack/cluster/host"
	"github.com/portcullis-dev/portcullis/hack/cluster/layout"
	"github.com/portcullis-dev/portcullis/hack/image"
)

func TestParseLibraries(t *testing.T) {
	const dynamic = `	linux-vdso.so.1 (0x00007ffd2e5f2000)
	libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f1c3a000000)
	libdb.so => /opt/a b/../libdb.so (0x00007f1c3a200000)
	/lib64/ld-linux-x86-64.so.2 (0x00007f1c3a3f4000)
`
	got, err := parseLibraries(dynamic)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"/lib/x86_64-linux-gnu/libc.so.6", "/opt/libdb.so", "/lib64/ld-linux-x86-64.so.2"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("libraries (-want +got):\n%s", diff)
	}
	if got, err := parseLibraries("\tstatically linked\n"); err != nil || got != nil {
		t.Errorf("static: %v, %v", got, err)
	}
	if _, err := parseLibraries("\tlibgone.so.1 => not found\n"); err == nil {
		t.Error("a missing library was accepted")
	}
}

func TestAddKeepsTheFirst(t *testing.T) {
	files := map[string]image.File{}
	add(files, image.File{Path: "/bin/cat", Source: "/usr/bin/cat"})
	add(files, image.File{Path: "/bin/cat", Link: "busybox"})
	if files["/bin/cat"].Link != "" {
		t.Error("busybox has replaced a real program")
	}
}

func shell(tb testing.TB) map[string]image.File {
	tb.Helper()
	if missing := host.MissingPackages(); len(missing) > 0 {
		tb.Skipf("this machine lacks %v", missing)
	}
	spec, err := Shell(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	files := map[string]image.File{}
	for _, file := range spec.Files {
		files[file.Path] = file
	}
	return files
}

func TestShellHasRealPrograms(t *testing.T) {
	files := shell(t)
	for _, program := range []string{"bash", "cat", "curl", "ls", "sleep", "printenv"} {
		if file := files["/bin/"+program]; file.Source == "" {
			t.Errorf("%s is %+v, want a program of its own", program, file)
		}
	}
	if link := files["/bin/sh"].Link; link != "dash" {
		t.Errorf("sh is %q", link)
	}
	for _, program := range []string{"wget", "vi", "nc"} {
		if _, ok := files["/bin/"+program]; !ok {
			t.Errorf("no %s", program)
		}
	}
}

// The image's files, put in a directory, work there as a root file system.
func TestShellRunsByItself(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("changing the root directory needs root")
	}
	root := t.TempDir()
	for path, file := range shell(t) {
		target := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		switch {
		case file.Dir:
			err = os.MkdirAll(target, 0o755)
		case file.Link != "":
			err = os.Symlink(file.Link, target)
		case file.Source != "":
			err = copyFile(target, file.Source)
		default:
			err = os.WriteFile(target, file.Content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for command, want := range map[string]string{
		"sh -c 'echo $0'":                      "sh\n",
		"bash -c 'cat /etc/group | head -n 1'": "root:x:0:\n",
		"curl --version | head -c 5":           "curl ",
		"A=b printenv A":                       "b\n",
		"readlink -f /bin/sh":                  "/bin/dash\n",
	} {
		output, err := exec.Command("chroot", root, "/bin/sh", "-c", command).CombinedOutput()
		if err != nil || string(output) != want {
			t.Errorf("%s: %q, %v, want %q", command, output, err, want)
		}
	}
}

func copyFile(target, source string) error {
	content, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	return os.WriteFile(target, content, 0o755)
}

func TestPauseIsWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pause.tar")
	if err := image.Write(path, layout.PauseImage, Pause("/bin/true")); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() == 0 {
		t.Errorf("the archive is %v (%v)", info, err)
	}
}

func TestWriteNeedsThePauseProgram(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "images")
	if err := Write(t.Context(), dir, "/no/pause/here"); err == nil {
		t.Error("a pause image without a program was written")
	}
}
