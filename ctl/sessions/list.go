package sessions

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/portcullis-dev/portcullis/ctl/output"
)

// The widths of commands in tables.
const (
	shownCommand = 40
	wideCommand  = 160
)

func listCommand(r *run) *cobra.Command {
	var f filter
	var format output.Format
	var details, bare bool
	c := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls", "get"},
		Short:   "List sessions, the latest first",
		Long: "Lists sessions, the latest first: those of all namespaces, or with -n of one. -o ndjson\n" +
			"exports them, with --details with all processes and timelines.",
		Example: `  portcullisctl sessions list --since 1h
  portcullisctl sessions list -n shop --user alice -o wide
  portcullisctl sessions list --attribution none --since 7d
  portcullisctl sessions list -o ndjson --details > sessions.ndjson`,
		Args: cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			switch {
			case details && format.IsTable():
				return errors.New("--details needs -o json, yaml or ndjson; portcullisctl sessions show has them for people")
			case f.limit < 0:
				return fmt.Errorf("--limit %d is negative", f.limit)
			}
			f.namespace = r.Namespace("")
			return r.with(c.Context(), func(from feed) error {
				found, err := from.list(c.Context(), f.values(r.Now()), details)
				if err != nil {
					return err
				}
				return r.list(found, format, bare)
			})
		},
	}
	f.addFlags(c)
	f.addTimeFlags(c)
	output.AddFlagOf(c, &format, output.JSON, output.YAML, output.NDJSON, output.Wide)
	c.Flags().BoolVar(&details, "details", false, "With processes and timelines, for programs")
	c.Flags().BoolVar(&bare, "no-headers", false, "Leave the table's header out")
	return c
}

func (r *run) list(found []session, format output.Format, bare bool) error {
	switch {
	case format == output.NDJSON:
		return r.lines(found)
	case !format.IsTable():
		return output.Value(r.Streams.Out, format, document(found))
	case len(found) == 0:
		fmt.Fprintln(r.Streams.ErrOut, "There is no such session.")
		return nil
	}
	now := r.Now()
	rows := make([][]string, 0, len(found))
	for i := range found {
		rows = append(rows, row(&found[i], now))
	}
	table := output.NewRows(r.Streams.Out, format, columns()...)
	if bare {
		table = table.WithoutHeaders()
	}
	return table.Print(rows...)
}

func (r *run) lines(found []session) error {
	for i := range found {
		if err := output.Value(r.Streams.Out, output.NDJSON, found[i].raw); err != nil {
			return err
		}
	}
	return nil
}

// items are documents as kubectl prints lists.
type items struct {
	Items []json.RawMessage `json:"items"`
}

func document(found []session) items {
	all := items{make([]json.RawMessage, 0, len(found))}
	for i := range found {
		all.Items = append(all.Items, found[i].raw)
	}
	return all
}

func columns() []output.Column {
	return []output.Column{
		{Name: "ID"}, {Name: "Age"}, {Name: "User"}, {Name: "Attribution"}, {Name: "Door"}, {Name: "Pod"}, {Name: "Container"},
		{Name: "Command"}, {Name: "State"}, {Name: "Detections"},
		{Name: "Began", Wide: true}, {Name: "Lasted", Wide: true}, {Name: "Exit", Wide: true}, {Name: "Node", Wide: true},
		{Name: "From", Wide: true}, {Name: "Whole Command", Wide: true},
	}
}

func row(s *session, now time.Time) []string {
	line := command(s.Command)
	from := unknown
	if s.Request != nil {
		from = orUnknown(strings.Join(s.Request.SourceIPs, ","))
	}
	return []string{
		id(s), age(s, now), who(s), orUnknown(string(s.Attribution)), orUnknown(s.Door), pod(s), orUnknown(s.Container),
		cut(line, shownCommand), orUnknown(string(s.State)), detections(s),
		clock(began(s)), lasted(s), exit(s), orUnknown(s.Pod.Node), from, cut(line, wideCommand),
	}
}

// lasted is the time from its start to its end.
func lasted(s *session) string {
	if s.Started.IsZero() || s.Ended.IsZero() {
		return unknown
	}
	return s.Ended.Sub(s.Started).Round(time.Millisecond).String()
}
