package rulefmt

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/aymanbagabas/go-udiff"

	"github.com/portcullis-dev/portcullis/eql/diag"
)

// maxFile is the largest file that is read, as it is for rules.
const maxFile = 1 << 20

// run is one call of the command.
type run struct {
	options     options
	out, errOut io.Writer
	result      notFormattedError
}

// stdin lays out standard input.
func (r *run) stdin(in io.Reader) error {
	const name = "<standard input>"
	text, err := readAll(name, in)
	if err != nil {
		return err
	}
	layOut := document
	if r.options.query {
		layOut = query
	}
	formatted, ok, err := r.text(name, text, layOut)
	if err != nil {
		return err
	}
	if ok && r.options.writes() {
		if _, err := r.out.Write(formatted); err != nil {
			return err
		}
	}
	return r.end()
}

// paths lays out files and folders.
func (r *run) paths(args []string) error {
	files, err := find(args)
	if err != nil {
		return err
	}
	for _, name := range files {
		if err := r.file(name); err != nil {
			return err
		}
	}
	return r.end()
}

func (r *run) end() error {
	if r.result.broken > 0 || r.result.changed > 0 && r.options.check {
		return &r.result
	}
	return nil
}

// find returns the files that are meant, sorted, each once.
func find(args []string) ([]string, error) {
	var files []string
	for _, arg := range args {
		info, err := os.Stat(arg)
		switch {
		case err != nil:
			return nil, fmt.Errorf("read rules: %w", err)
		case filepath.Ext(arg) == ".toml":
			return nil, fmt.Errorf("%s: rules of others are not rewritten: only YAML rule files and .eql files are laid out", arg)
		case !info.IsDir():
			files = append(files, arg)
			continue
		}
		err = filepath.WalkDir(arg, func(path string, entry fs.DirEntry, err error) error {
			switch extension := filepath.Ext(path); {
			case err != nil:
				return err
			case entry.IsDir() && path != arg && strings.HasPrefix(entry.Name(), "."):
				return fs.SkipDir
			case !entry.IsDir() && (extension == ".yaml" || extension == ".yml") && !strings.HasPrefix(entry.Name(), "."):
				files = append(files, path)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read rules: %w", err)
		}
	}
	slices.Sort(files)
	files = slices.Compact(files)
	if len(files) == 0 {
		return nil, errors.New("there are no rules: none of the files ends in .yaml or .yml")
	}
	return files, nil
}

// file lays out one file, in place unless a flag says otherwise.
func (r *run) file(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("read rules: %w", err)
	}
	text, err := readAll(name, f)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	layOut := document
	if filepath.Ext(name) == ".eql" {
		layOut = query
	}
	formatted, ok, err := r.text(name, text, layOut)
	if err != nil || !ok || bytes.Equal(formatted, text) || !r.options.writes() {
		return err
	}
	if err = replace(name, formatted); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	_, err = fmt.Fprintln(r.out, diag.Escape(name))
	return err
}

func readAll(name string, in io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(in, maxFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", name, err)
	case len(text) > maxFile:
		return nil, fmt.Errorf("read %s: it has more than %d bytes", name, maxFile)
	}
	return text, nil
}

// text lays out one text and says what the flags ask for. It is not ok if there
// is something wrong with the text.
func (r *run) text(name string, text []byte, layOut func(string, []byte) ([]byte, diag.List)) (formatted []byte, ok bool, err error) {
	formatted, problems := layOut(name, text)
	if problems.HasErrors() {
		r.result.broken++
		_, err = io.WriteString(r.errOut, problems.Render())
		return nil, false, err
	}
	if bytes.Equal(formatted, text) {
		return formatted, true, nil
	}
	r.result.changed++
	if r.options.list || r.options.check && !r.options.diff {
		_, err = fmt.Fprintln(r.out, diag.Escape(name))
	}
	if r.options.diff {
		_, err = io.WriteString(r.out, harmless(udiff.Unified(name, name, string(text), string(formatted))))
	}
	return formatted, true, err
}

// harmless makes a text of several lines safe for a terminal. Tabs and the line
// ends of other systems stay, so that a diff can be applied.
func harmless(text string) string {
	var b strings.Builder
	for i, r := range text {
		if r == '\n' || r == '\t' || r == '\r' && strings.HasPrefix(text[i:], "\r\n") {
			b.WriteRune(r)
		} else {
			b.WriteString(diag.Escape(string(r)))
		}
	}
	return b.String()
}

// replace writes a file in one step: who reads it finds the old or the new text.
// A symbolic link stays one.
func replace(name string, text []byte) error {
	name, err := filepath.EvalSymlinks(name)
	if err != nil {
		return err
	}
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".portcullis-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone already where the rename succeeded
	_, err = f.Write(text)
	if err = errors.Join(err, f.Chmod(info.Mode().Perm()), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
