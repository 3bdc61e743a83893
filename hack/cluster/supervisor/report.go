package supervisor

import (
	"encoding/json"
	"fmt"
	"io"
)

// A Report is one line from a supervisor that brings a cluster up to the
// process that started it. Exactly one field is set.
type Report struct {
	// Milestone says what has just been reached.
	Milestone string `json:"milestone,omitempty"`
	// Failure says why the cluster does not come up. Nothing follows it.
	Failure string `json:"failure,omitempty"`
	// Ready says that the cluster is up. Nothing follows it.
	Ready bool `json:"ready,omitempty"`
}

type reporter struct {
	w io.Writer
}

func (r reporter) milestone(format string, args ...any) {
	r.send(Report{Milestone: fmt.Sprintf(format, args...)})
}
func (r reporter) failed(err error) { r.send(Report{Failure: err.Error()}) }
func (r reporter) ready()           { r.send(Report{Ready: true}) }

// send does not fail: when the parent is gone there is nobody to tell.
func (r reporter) send(report Report) { _ = json.NewEncoder(r.w).Encode(report) }
