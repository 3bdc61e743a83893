package rulefmt

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// execute runs the command with a standard input.
func execute(t *testing.T, stdin string, args ...string) (out, errOut string, err error) {
	t.Helper()
	streams, in, stdout, stderr := genericiooptions.NewTestIOStreams()
	in.WriteString(stdin)
	command := New(streams)
	command.SilenceErrors, command.SilenceUsage = true, true
	command.SetArgs(args)
	err = command.Execute()
	return stdout.String(), stderr.String(), err
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

const (
	crooked  = "any where   a==1"
	straight = "any where a == 1"
)

// TestInPlace: files are changed where they have to be, and named.
func TestInPlace(t *testing.T) {
	dir := t.TempDir()
	a := write(t, dir, "a.yaml", ruleOf(crooked))
	b := write(t, dir, "deep/b.yml", ruleOf(straight))
	c := write(t, dir, "c.eql", crooked)
	write(t, dir, ".hidden/d.yaml", ruleOf(crooked))
	write(t, dir, "notes.txt", crooked)
	if err := os.Symlink("a.yaml", filepath.Join(dir, "link.yaml")); err != nil {
		t.Fatal(err)
	}
	out, _, err := execute(t, "", dir, c, a)
	if err != nil || out != a+"\n"+c+"\n" {
		t.Errorf("%v\n%s", err, out)
	}
	for path, want := range map[string]string{
		a: ruleOf(straight), b: ruleOf(straight), c: straight + "\n",
		filepath.Join(dir, ".hidden/d.yaml"): ruleOf(crooked), filepath.Join(dir, "notes.txt"): crooked,
	} {
		if diff := cmp.Diff(want, read(t, path)); diff != "" {
			t.Errorf("%s: want (-), got (+):\n%s", path, diff)
		}
	}
	info, err := os.Stat(a)
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".portcullis-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if out, _, err := execute(t, "", dir); err != nil || out != "" {
		t.Errorf("the second time: %v\n%s", err, out)
	}
}

func TestSymbolicLinkStays(t *testing.T) {
	dir := t.TempDir()
	a := write(t, dir, "target/a.yaml", ruleOf(crooked))
	link := filepath.Join(dir, "link.yaml")
	if err := os.Symlink(a, link); err != nil {
		t.Fatal(err)
	}
	if _, _, err := execute(t, "", link); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 || read(t, a) != ruleOf(straight) {
		t.Errorf("%v, %v\n%s", info.Mode(), err, read(t, a))
	}
}

// TestNothingIsWritten by the flags that only tell.
func TestNothingIsWritten(t *testing.T) {
	dir := t.TempDir()
	a := write(t, dir, "a.yaml", ruleOf(crooked))
	write(t, dir, "b.yaml", ruleOf(straight))
	const diff = "-  query: any where   a==1\n+  query: any where a == 1\n"
	for _, row := range []struct {
		flags []string
		out   []string
		fails bool
	}{
		{[]string{"-l"}, []string{a + "\n"}, false},
		{[]string{"-d"}, []string{"--- " + a, "+++ " + a, diff}, false},
		{[]string{"--check"}, []string{a + "\n"}, true},
		{[]string{"--check", "-d"}, []string{diff}, true},
		{[]string{"-l", "-d"}, []string{a + "\n", diff}, false},
	} {
		out, _, err := execute(t, "", append(row.flags, dir)...)
		if (err != nil) != row.fails {
			t.Errorf("%v: error %v", row.flags, err)
		}
		for _, want := range row.out {
			if !strings.Contains(out, want) {
				t.Errorf("%v: %q is missing in\n%s", row.flags, want, out)
			}
		}
		if read(t, a) != ruleOf(crooked) {
			t.Fatalf("%v: the file was changed", row.flags)
		}
	}
	if _, _, err := execute(t, "", "--check", filepath.Join(dir, "b.yaml")); err != nil {
		t.Errorf("a file that is laid out: %v", err)
	}
	if _, _, err := execute(t, "", "--check", dir); err == nil || err.Error() != "1 file is not laid out: run portcullisctl rule fmt" {
		t.Errorf("error %v", err)
	}
}

func TestStandardInput(t *testing.T) {
	for _, args := range [][]string{nil, {"-"}} {
		if out, _, err := execute(t, ruleOf(crooked), args...); err != nil || out != ruleOf(straight) {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
	if out, _, err := execute(t, crooked, "--query"); err != nil || out != straight+"\n" {
		t.Errorf("%v\n%s", err, out)
	}
	if out, _, err := execute(t, ruleOf(crooked), "-l"); err != nil || out != "<standard input>\n" {
		t.Errorf("%v\n%s", err, out)
	}
	if out, _, err := execute(t, ruleOf(straight), "--check"); err != nil || out != "" {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestOneBadFile: it is told about and left alone, the others are laid out.
func TestOneBadFile(t *testing.T) {
	dir := t.TempDir()
	a := write(t, dir, "a.yaml", ruleOf("any where a = 1"))
	b := write(t, dir, "b.yaml", ruleOf(crooked))
	out, errOut, err := execute(t, "", dir)
	if err == nil || out != b+"\n" || !strings.Contains(errOut, a+":4:22: error: = does not compare") {
		t.Errorf("%v\n%s\n%s", err, out, errOut)
	}
	if read(t, b) != ruleOf(straight) {
		t.Error("the other file was not laid out")
	}
	if out, errOut, err := execute(t, "any where (", "--query"); err == nil || out != "" || !strings.Contains(errOut, "<standard input>:1:12") {
		t.Errorf("%v\n%s\n%s", err, out, errOut)
	}
}

func TestWhatCannotBeLaidOut(t *testing.T) {
	dir := t.TempDir()
	toml := write(t, dir, "rule.toml", "query = '''any where true'''")
	large := write(t, dir, "large.yaml", strings.Repeat("#", maxFile+1))
	for _, args := range [][]string{{toml}, {large}, {filepath.Join(dir, "none.yaml")}, {t.TempDir()}, {"--query", toml}} {
		if out, _, err := execute(t, "", args...); err == nil {
			t.Errorf("%v is no error\n%s", args, out)
		}
	}
}

func TestDiffIsHarmless(t *testing.T) {
	out, _, err := execute(t, ruleOf("|\n    any where   a==1\n")+"# \u202e\n", "-d")
	if err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(out, "\u202e") {
		t.Errorf("%q", out)
	}
}
