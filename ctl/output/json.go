package output

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

// AddJSONFlag adds -o to a command that prints text for people, and JSON for
// programs.
func AddJSONFlag(c *cobra.Command, f *Format) {
	c.Flags().VarP((*jsonFormat)(f), "output", "o", "Output format: json; text unless set")
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{string(JSON)}, cobra.ShellCompDirectiveNoFileComp))
}

// jsonFormat is a Format as a flag that takes JSON alone.
type jsonFormat Format

func (f *jsonFormat) String() string { return string(*f) }

func (f *jsonFormat) Type() string { return "format" }

func (f *jsonFormat) Set(text string) error {
	if text != string(JSON) {
		return fmt.Errorf("must be %s", JSON)
	}
	*f = jsonFormat(text)
	return nil
}

// Document prints any value as JSON.
func Document(w io.Writer, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("print %T: %w", v, err)
	}
	_, err = io.WriteString(w, harmless(string(text), inJSON)+"\n")
	return err
}

// Value prints any value as JSON, as a line of JSON, or as YAML.
func Value(w io.Writer, f Format, v any) error {
	switch f {
	case JSON:
		return Document(w, v)
	case NDJSON:
		return line(w, v)
	case YAML:
		return yamlDocument(w, v)
	default:
		return fmt.Errorf("print %T: format %q is not for values", v, f)
	}
}

func line(w io.Writer, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("print %T: %w", v, err)
	}
	_, err = io.WriteString(w, harmless(string(text), inJSON)+"\n")
	return err
}

func yamlDocument(w io.Writer, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("print %T: %w", v, err)
	}
	// YAML does not take some of these characters at all, unless they are escaped.
	document, err := yaml.JSONToYAML([]byte(harmless(string(text), inYAML)))
	if err != nil {
		return fmt.Errorf("print %T: %w", v, err)
	}
	_, err = io.WriteString(w, harmless(string(document), replaced))
	return err
}
