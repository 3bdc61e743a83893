package output

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"
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
