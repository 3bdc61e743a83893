// Package output prints objects the way that kubectl users expect: tables whose
// columns align, -o wide, json, yaml and name.
//
// Much of what is printed was written by the very people whom Portcullis
// guards against: no control character and nothing that turns the reading
// direction reaches the terminal. JSON and YAML keep such characters, escaped where
// the format can; tables show them as \u{…}.
package output

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/printers"
	"sigs.k8s.io/yaml"

	"github.com/portcullis-dev/portcullis/eql/diag"
)

// Format is the value of the flag -o.
type Format string

// The formats.
const (
	Table Format = ""
	Wide  Format = "wide"
	JSON  Format = "json"
	YAML  Format = "yaml"
	Name  Format = "name"
)

// NDJSON is JSON with one document a line, for commands that say so.
const NDJSON Format = "ndjson"

// AddFlag adds -o to the command with what kubectl knows; f has its value once flags are parsed.
func AddFlag(c *cobra.Command, f *Format) { AddFlagOf(c, f, JSON, YAML, Name, Wide) }

// AddFlagOf is AddFlag for a command that has other formats.
func AddFlagOf(c *cobra.Command, f *Format, formats ...Format) {
	flag := &formatFlag{value: f}
	for _, known := range formats {
		flag.known = append(flag.known, string(known))
	}
	c.Flags().VarP(flag, "output", "o", "Output format: "+flag.all()+"; a table unless set")
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(flag.known, cobra.ShellCompDirectiveNoFileComp))
}

// formatFlag is a Format as a flag that takes those that a command knows.
type formatFlag struct {
	value *Format
	known []string
}

func (f *formatFlag) all() string { return strings.Join(f.known, ", ") }

func (f *formatFlag) String() string {
	if f.value == nil { // as the flag package makes one to learn of its zero value
		return ""
	}
	return string(*f.value)
}

func (f *formatFlag) Type() string { return "format" }

func (f *formatFlag) Set(text string) error {
	if !slices.Contains(f.known, text) {
		return fmt.Errorf("must be one of %s", f.all())
	}
	*f.value = Format(text)
	return nil
}

// IsTable reports whether people read the output and not programs.
func (f Format) IsTable() bool { return f == Table || f == Wide }

// Object prints an object as JSON, as YAML or as its name. Its kind must be set.
func Object(w io.Writer, f Format, obj runtime.Object) error {
	if !f.isDocument() {
		return fmt.Errorf("print %T: format %q is not for single objects", obj, f)
	}
	text, err := document(f, obj)
	if err != nil {
		return fmt.Errorf("print %T: %w", obj, err)
	}
	_, err = io.WriteString(w, text)
	return err
}

func (f Format) isDocument() bool { return f == JSON || f == YAML || f == Name }

func document(f Format, obj runtime.Object) (string, error) {
	if f == Name {
		var text strings.Builder
		err := (&printers.NamePrinter{ShortOutput: true}).PrintObj(obj, &text)
		return harmless(text.String(), replaced), err
	}
	var text strings.Builder
	if err := (&printers.OmitManagedFieldsPrinter{Delegate: &printers.JSONPrinter{}}).PrintObj(obj, &text); err != nil {
		return "", err
	}
	if f == JSON {
		return harmless(text.String(), inJSON), nil
	}
	// YAML does not take some of these characters at all, unless they are escaped.
	document, err := yaml.JSONToYAML([]byte(harmless(text.String(), inYAML)))
	return harmless(string(document), replaced), err
}

// harmless writes what could steer a terminal in another way.
func harmless(text string, instead func(rune) string) string {
	var b strings.Builder
	for _, r := range text {
		if r == '\n' || r == '\t' || unicode.IsGraphic(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(instead(r))
		}
	}
	return b.String()
}

func replaced(rune) string { return string(unicode.ReplacementChar) }

// inYAML escapes within a string of YAML, inJSON within one of JSON: in a JSON
// document such characters can stand nowhere else.
func inYAML(r rune) string { return fmt.Sprintf(`\U%08x`, r) }

func inJSON(r rune) string {
	if high, low := utf16.EncodeRune(r); high != unicode.ReplacementChar {
		return fmt.Sprintf(`\u%04x\u%04x`, high, low)
	}
	return fmt.Sprintf(`\u%04x`, r)
}

// Text makes what somebody else wrote safe to print within a line.
func Text(s string) string { return diag.Escape(s) }

// Column is a column of a table. Wide ones are only shown with -o wide.
type Column struct {
	Name string
	Wide bool
}

// Rows prints tables that belong together: columns keep their width and the
// header is printed once.
type Rows struct {
	w       io.Writer
	printer printers.ResourcePrinter
	options printers.PrintOptions
	columns []metav1.TableColumnDefinition
}

// NewRows returns a printer of rows with those columns.
func NewRows(w io.Writer, f Format, columns ...Column) *Rows {
	options := printers.PrintOptions{Wide: f == Wide}
	rows := &Rows{w: printers.GetNewTabWriter(w), printer: printers.NewTablePrinter(options), options: options}
	for _, c := range columns {
		definition := metav1.TableColumnDefinition{Name: c.Name, Type: "string"}
		if c.Wide {
			definition.Priority = 1
		}
		rows.columns = append(rows.columns, definition)
	}
	return rows
}

// WithoutHeaders leaves the header out, and returns the printer.
func (r *Rows) WithoutHeaders() *Rows {
	r.options.NoHeaders = true
	r.printer = printers.NewTablePrinter(r.options)
	return r
}

// Print prints rows with a cell for each column. Cells are made safe here.
func (r *Rows) Print(rows ...[]string) error {
	table := &metav1.Table{ColumnDefinitions: r.columns}
	for _, row := range rows {
		cells := make([]any, 0, len(row))
		for _, cell := range row {
			cells = append(cells, Text(cell))
		}
		table.Rows = append(table.Rows, metav1.TableRow{Cells: cells})
	}
	if err := r.printer.PrintObj(table, r.w); err != nil {
		return fmt.Errorf("print table: %w", err)
	}
	if f, ok := r.w.(interface{ Flush() error }); ok {
		return f.Flush()
	}
	return nil
}
