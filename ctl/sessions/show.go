package sessions

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/portcullis-dev/portcullis/ctl/output"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/execsession"
)

func showCommand(r *run) *cobra.Command {
	var format output.Format
	c := &cobra.Command{
		Use:     "show ID",
		Aliases: []string{"describe"},
		Short:   "Show one session: who, what was started, what was done, how it ended",
		Long: "Shows one session: who asked and how sure that is, its processes as a tree, and what happened,\n" +
			"with times from its beginning on. API calls are those that were made with the pod's identity\n" +
			"while it ran: the session may have made them, or anything else in the pod.",
		Example: `  portcullisctl sessions show s-3fc9f14c01234567
  portcullisctl sessions show s-3fc9f14c01234567 -o json | jq '.processes[].args'`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: r.completeIDs,
		RunE: func(c *cobra.Command, args []string) error {
			return r.with(c.Context(), func(from feed) error {
				s, err := from.one(c.Context(), args[0])
				if err != nil {
					return err
				}
				if !format.IsTable() {
					return output.Value(r.Streams.Out, format, s.raw)
				}
				return show(r.Streams.Out, &s)
			})
		},
	}
	output.AddFlagOf(c, &format, output.JSON, output.YAML)
	return c
}

// show prints everything about a session that a person may want to know.
func show(w io.Writer, s *session) error {
	zero := began(s)
	if zero.IsZero() && len(s.Timeline) > 0 {
		zero = s.Timeline[0].Time
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, fact := range facts(s, zero) {
		if fact[1] != "" {
			fmt.Fprintf(tw, "%s\t%s\n", fact[0], output.Text(fact[1]))
		}
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	if err := showTree(w, &s.Document, zero); err != nil {
		return err
	}
	return showTimeline(w, &s.Document, zero)
}

// facts are lines of a name and a text, which is empty where there is nothing to say.
func facts(s *session, zero time.Time) [][2]string {
	session := s.ID
	if len(s.Aliases) > 0 {
		session += " (also " + strings.Join(s.Aliases, ", ") + ")"
	}
	return append([][2]string{
		{"Session:", session},
		{"State:", state(s)},
		{"Asked by:", asker(s)},
		{"Groups:", groups(s.User)},
		{"Extra:", extra(s.User)},
		{"Attribution:", attributed(s)},
		{"Detected as:", unaudited(s)},
		{"Door:", door(s)},
		{"Pod:", place(s)},
		{"Command:", command(s.Command)},
		{"From:", from(s.Request)},
		{"Verdict:", verdict(s.Verdict)},
		{"Began:", clock(zero)},
		{"Started:", after(s.Started, zero)},
		{"Ended:", after(s.Ended, zero)},
		{"Exit:", ended(s.Exit)},
	}, detected(s, zero)...)
}

func detected(s *session, zero time.Time) [][2]string {
	lines := make([][2]string, len(s.Detections))
	for i, d := range s.Detections {
		lines[i][1] = fmt.Sprintf("%s at %s (%s)", d.Rule, relative(d.Time, zero), d.ID)
	}
	if len(lines) > 0 {
		lines[0][0] = "Detections:"
	}
	return lines
}

func state(s *session) string {
	switch s.State {
	case execsession.StateRequested:
		return "requested: nothing of it has been seen yet"
	case execsession.StateDenied:
		return "denied: it never began"
	case execsession.StateFailed:
		return "failed: it never began"
	default:
		return string(s.State)
	}
}

func asker(s *session) string {
	if s.User != nil {
		return who(s)
	}
	var names []string
	for _, name := range s.Candidates {
		names = append(names, candidate(name))
	}
	switch len(names) {
	case 0:
		return "nobody is known to have asked"
	case 1:
		return "perhaps " + names[0]
	default:
		return "one of: " + strings.Join(names, ", ")
	}
}

func groups(u *execsession.User) string {
	if u == nil {
		return ""
	}
	return strings.Join(u.Groups, ", ")
}

func extra(u *execsession.User) string {
	if u == nil {
		return ""
	}
	all := make([]string, 0, len(u.Extra))
	for _, key := range slices.Sorted(maps.Keys(u.Extra)) {
		all = append(all, key+"="+strings.Join(u.Extra[key], ","))
	}
	return strings.Join(all, " ")
}

// attributed says how sure it is who asked, and why.
func attributed(s *session) string {
	text := string(s.Attribution)
	if !s.Final {
		text += ", for now: what arrives later can change it"
	}
	if s.Why != "" {
		text += ": " + s.Why
	}
	if s.Attribution == event.AttributionExact && s.Request != nil && !s.Request.Certain {
		text += "; it is one of several requests of this user: " + strings.Join(s.Request.Sessions, ", ")
	}
	if s.CoverageHole {
		text += "; the audit stream was not heard when it began"
	}
	return text
}

func unaudited(s *session) string {
	if s.Unaudited {
		return "unaudited: it came past the API server, such as by the kubelet's port or the container runtime"
	}
	return ""
}

func door(s *session) string {
	text := s.Door
	if text == "" {
		text = "unknown"
	}
	if s.TTY {
		text += ", with a terminal"
	} else if s.Interactive {
		text += ", interactive"
	}
	if s.Stdin {
		text += ", with input"
	}
	return text
}

func place(s *session) string {
	text := pod(s)
	if s.Container != "" {
		text += ", container " + s.Container
	}
	if s.Pod.Node != "" {
		text += ", on node " + s.Pod.Node
	}
	return text
}

func from(r *execsession.Request) string {
	if r == nil {
		return ""
	}
	text := strings.Join(r.SourceIPs, ", ")
	if r.UserAgent != "" {
		text = strings.TrimSpace(text + " with " + r.UserAgent)
	}
	return text
}

func verdict(v *execsession.Verdict) string {
	switch {
	case v == nil:
		return ""
	case v.Allowed && v.Why == "":
		return "allowed"
	case v.Allowed:
		return "allowed: " + v.Why
	default:
		return "denied: " + v.Why
	}
}

func after(t, zero time.Time) string {
	if t.IsZero() {
		return ""
	}
	return relative(t, zero)
}

func ended(e *execsession.Exit) string {
	if e == nil {
		return ""
	}
	text := fmt.Sprintf("code %d", e.Code)
	if e.Signal != 0 {
		text = fmt.Sprintf("by signal %d", e.Signal)
	}
	if e.KilledBy != "" {
		text += ", ended by Portcullis: " + e.KilledBy
	}
	return text
}
