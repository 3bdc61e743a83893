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

var formats = []string{string(JSON), string(YAML), string(Name), string(Wide)}

// AddFlag adds -o to the command; f has its value once flags are parsed.
func AddFlag(c *cobra.Command, f *Format) {
	c.Flags().VarP(f, "output", "o", "Output format: "+strings.Join(formats, ", ")+"; a table unless set")
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
}

// String returns the flag's value.
func (f *Format) String() string { return string(*f) }

// Type names the flag's value in the help.
func (f *Format) Type() string { return "format" }

// Set reads the flag's value.
func (f *Format) Set(text string) error {
	for _, known := range formats {
		if text == known {
			*f = Format(text)
			return nil
		}
	}
	return fmt.Errorf("must be one of %s", strings.Join(formats, ", "))
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
	columns []metav1.TableColumnDefinition
}

// NewRows returns a printer of rows with those columns.
func NewRows(w io.Writer, f Format, columns ...Column) *Rows {
	rows := &Rows{
		w:       printers.GetNewTabWriter(w),
		printer: printers.NewTablePrinter(printers.PrintOptions{Wide: f == Wide}),
	}
	for _, c := range columns {
		definition := metav1.TableColumnDefinition{Name: c.Name, Type: "string"}
		if c.Wide {
			definition.Priority = 1
		}
		rows.columns = append(rows.columns, definition)
	}
	return rows
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
