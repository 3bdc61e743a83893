package sessions

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/portcullis-dev/portcullis/ctl/output"
	"github.com/portcullis-dev/portcullis/execsession"
)

func showTimeline(w io.Writer, d *execsession.Document, zero time.Time) error {
	if len(d.Timeline) == 0 {
		return nil
	}
	fmt.Fprintf(w, "\nTimeline, from %s:\n", clock(zero))
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	calls := false
	for i := range d.Timeline {
		e := &d.Timeline[i]
		calls = calls || e.Scope == execsession.ScopeOfPod
		fmt.Fprintf(tw, "  %s\t%s\t%s\n", relative(e.Time, zero), kind(e), output.Text(happened(e)))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	if d.TimelineDropped > 0 {
		fmt.Fprintf(w, "  %d more entries were not kept\n", d.TimelineDropped)
	}
	if calls {
		fmt.Fprintf(w, "\nAPI calls of the pod were made with its identity while the session ran: by the session, or by\nanything else in the pod.\n")
	}
	return nil
}

// kind is what sort of thing happened.
func kind(e *execsession.Entry) string {
	switch e.Kind {
	case execsession.KindAPICall:
		if e.Scope == execsession.ScopeOfPod {
			return "API call of the pod"
		}
		return "API call"
	case execsession.KindDetection:
		return "DETECTION"
	case execsession.KindKill:
		return "KILL"
	default:
		return output.Text(e.Kind)
	}
}

// happened is what, in a sentence as far as a program can make one. It is not escaped.
func happened(e *execsession.Entry) string {
	switch e.Kind {
	case execsession.KindReview:
		return join(e.User, "asks for:", e.Text)
	case execsession.KindRequest:
		return join(e.User, "asked for:", e.Text) + answered(e.Code)
	case execsession.KindStart, execsession.KindExec:
		return join(process(e), "runs", e.Text)
	case execsession.KindExit:
		return join(process(e), e.Text, fmt.Sprintf("ended with code %d", e.Code))
	case execsession.KindOpen:
		return join(process(e), "opens", e.Text)
	case execsession.KindAPICall:
		return join(e.Verb, e.URI) + answered(e.Code) + by(e.User)
	case execsession.KindDetection:
		return join(e.Rule+":", e.Text, parenthesised(e.ID))
	case execsession.KindAttribution:
		return join(e.Text, parenthesised(e.User))
	default:
		return join(process(e), e.User, e.Verb, e.URI, e.Text)
	}
}

func process(e *execsession.Entry) string {
	if e.PID == 0 {
		return ""
	}
	return fmt.Sprintf("[%d]", e.PID)
}

func answered(code int32) string {
	if code == 0 {
		return ""
	}
	return fmt.Sprintf(" (%d)", code)
}

func by(user string) string {
	if user == "" {
		return ""
	}
	return " as " + user
}

func parenthesised(text string) string {
	if text == "" {
		return ""
	}
	return "(" + text + ")"
}

// join puts spaces between what there is.
func join(parts ...string) string {
	var there []string
	for _, part := range parts {
		if part != "" {
			there = append(there, part)
		}
	}
	return strings.Join(there, " ")
}
