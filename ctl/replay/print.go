package replay

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/portcullis-dev/portcullis/ctl/output"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/notify"
	"github.com/portcullis-dev/portcullis/rule"
)

// result is the output as one JSON document.
type result struct {
	Rules           int `json:"rules"`
	AuditEvents     int `json:"auditEvents"`
	TelemetryEvents int `json:"telemetryEvents"`
	// LinesLeftOut are those that could not be read.
	LinesLeftOut int `json:"linesLeftOut"`
	// Detections are documents of the Elastic Common Schema, as the server writes them.
	Detections []json.RawMessage `json:"detections"`
}

// print prints the detections to standard output.
func (r *run) print(rules *rule.Set, detections []*event.Detection) error {
	switch r.format.value {
	case ndjson:
		return printLines(r.streams.Out, detections)
	case asJSON:
		return r.printDocument(rules, detections)
	default:
		return r.printTable(detections)
	}
}

// printLines prints what the server would have written to its standard output.
func printLines(w io.Writer, detections []*event.Detection) error {
	out := bufio.NewWriter(w)
	encoder := notify.NewEncoder("")
	for _, d := range detections {
		text, err := encoder.Encode(d)
		if err != nil {
			return err
		}
		if _, err := out.Write(append(text, '\n')); err != nil {
			return err
		}
	}
	return out.Flush()
}

func (r *run) printDocument(rules *rule.Set, detections []*event.Detection) error {
	encoder := notify.NewEncoder("")
	all := result{
		Rules: rules.Len(), AuditEvents: r.auditEvents, TelemetryEvents: r.telemetryEvents, LinesLeftOut: r.bad,
		Detections: make([]json.RawMessage, 0, len(detections)),
	}
	for _, d := range detections {
		text, err := encoder.Encode(d)
		if err != nil {
			return err
		}
		all.Detections = append(all.Detections, text)
	}
	return output.Document(r.streams.Out, all)
}

func (r *run) printTable(detections []*event.Detection) error {
	if len(detections) == 0 {
		return nil
	}
	rows := make([][]string, 0, len(detections))
	for _, d := range detections {
		rows = append(rows, []string{
			d.Time.UTC().Format("2006-01-02 15:04:05.000"), d.Rule.Severity, d.Rule.Name, podOf(d), orDash(d.User), string(d.Action),
			fmt.Sprint(len(d.Events)), span(d), identity(d), d.ID, orDash(d.Why),
		})
	}
	format := output.Table
	if r.format.value == wide {
		format = output.Wide
	}
	return output.NewRows(r.streams.Out, format,
		output.Column{Name: "Time"}, output.Column{Name: "Severity"}, output.Column{Name: "Rule"}, output.Column{Name: "Pod"},
		output.Column{Name: "User"}, output.Column{Name: "Action"},
		output.Column{Name: "Events", Wide: true}, output.Column{Name: "Within", Wide: true},
		output.Column{Name: "Identity", Wide: true}, output.Column{Name: "Detection", Wide: true}, output.Column{Name: "Why", Wide: true},
	).Print(rows...)
}

func podOf(d *event.Detection) string {
	if d.Pod.IsZero() {
		return "-"
	}
	return d.Pod.String()
}

// identity is how sure the pod is.
func identity(d *event.Detection) string {
	if d.Pod.IsZero() {
		return "-"
	}
	return d.Pod.Confidence.String()
}

// span is the time between the first and the last event.
func span(d *event.Detection) string {
	first := d.Time
	for _, e := range d.Events {
		if e.Time.Before(first) {
			first = e.Time
		}
	}
	return d.Time.Sub(first).Round(time.Millisecond).String()
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
