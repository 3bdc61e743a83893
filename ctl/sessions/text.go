package sessions

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/portcullis-dev/portcullis/ctl/output"
	"github.com/portcullis-dev/portcullis/event"
)

// unknown stands where there is nothing to say.
const unknown = "-"

func orUnknown(text string) string {
	if text == "" {
		return unknown
	}
	return output.Text(text)
}

func id(s *session) string { return output.Text(s.ID) }

// who asked, in a word or two: a name alone is certain.
func who(s *session) string {
	switch {
	case s.User != nil && s.User.Impersonator != "":
		return output.Text(s.User.Name) + " (by " + output.Text(s.User.Impersonator) + ")"
	case s.User != nil:
		return output.Text(s.User.Name)
	case len(s.Candidates) > 0:
		return few(s.Candidates)
	default:
		return unknown
	}
}

// few are candidates, no more than fit into a cell.
func few(candidates []string) string {
	const shown = 3
	var names []string
	for _, name := range candidates[:min(shown, len(candidates))] {
		names = append(names, output.Text(name)+"?")
	}
	if more := len(candidates) - shown; more > 0 {
		names = append(names, fmt.Sprintf("+%d", more))
	}
	return strings.Join(names, " ")
}

// candidate is one who may have asked, for people.
func candidate(name string) string {
	switch name {
	case event.CandidateUnaudited:
		return "nobody (it may have come past the API server)"
	case event.CandidateProbe:
		return "the kubelet (a probe or hook has the same command)"
	default:
		return output.Text(name)
	}
}

func pod(s *session) string {
	if s.Pod.Name == "" {
		return orUnknown(s.Pod.UID)
	}
	return output.Text(s.Pod.Namespace + "/" + s.Pod.Name)
}

// command is a command line that a shell would read as those arguments.
func command(args []string) string {
	quoted := make([]string, len(args))
	for i, arg := range args {
		quoted[i] = quote(arg)
	}
	return output.Text(strings.Join(quoted, " "))
}

func quote(arg string) string {
	plain := func(r rune) bool {
		return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("_@%+=:,./-", r)
	}
	if arg != "" && !strings.ContainsFunc(arg, func(r rune) bool { return !plain(r) }) {
		return arg
	}
	return "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
}

// cut shortens a text to a number of characters.
func cut(text string, most int) string {
	if utf8.RuneCountInString(text) <= most {
		return text
	}
	return string([]rune(text)[:most-1]) + "…"
}

// rules are those of the detections, each once.
func rules(s *session) []string {
	var names []string
	for _, d := range s.Detections {
		if !slices.Contains(names, d.Rule) {
			names = append(names, d.Rule)
		}
	}
	return names
}

func detections(s *session) string {
	names := rules(s)
	switch len(names) {
	case 0:
		return unknown
	case 1:
		return output.Text(names[0])
	default:
		return fmt.Sprintf("%s +%d", output.Text(names[0]), len(names)-1)
	}
}

// began is when it was asked for, or seen first where nobody is known to have asked.
func began(s *session) time.Time {
	if s.Requested.IsZero() {
		return s.Started
	}
	return s.Requested
}

func age(s *session, now time.Time) string {
	if began(s).IsZero() {
		return unknown
	}
	return duration.HumanDuration(max(0, now.Sub(began(s))))
}

const layout = "2006-01-02 15:04:05.000 UTC"

func clock(t time.Time) string {
	if t.IsZero() {
		return unknown
	}
	return t.UTC().Format(layout)
}

// exit is how it ended.
func exit(s *session) string {
	if s.Exit == nil {
		return unknown
	}
	text := fmt.Sprint(s.Exit.Code)
	if s.Exit.Signal != 0 {
		text = fmt.Sprintf("signal %d", s.Exit.Signal)
	}
	if s.Exit.KilledBy != "" {
		text += " (killed)"
	}
	return text
}

// summary is a session in a line.
func summary(s *session) string {
	const most = 60
	return cut(strings.Join([]string{who(s), orUnknown(s.Door), pod(s), command(s.Command)}, " "), most)
}

// relative is how long after the session's beginning something was.
func relative(t, zero time.Time) string {
	if t.IsZero() {
		return unknown
	}
	d := t.Sub(zero)
	sign := "+"
	if d < 0 {
		sign, d = "-", -d
	}
	d = d.Round(time.Millisecond)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%s%.3fs", sign, d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%s%dm%06.3fs", sign, d/time.Minute, (d % time.Minute).Seconds())
	default:
		return fmt.Sprintf("%s%dh%02dm%06.3fs", sign, d/time.Hour, d%time.Hour/time.Minute, (d % time.Minute).Seconds())
	}
}
