package quarantine

import (
	"fmt"
	"strings"
	"time"
	"unicode"
)

// The bounds of the texts in a message, in characters. A message is read in a
// terminal, and kept in an audit event.
const (
	maxShownName   = 128
	maxShownReason = 256
)

// timeFormat is how people are told a time.
const timeFormat = "2006-01-02 15:04:05 UTC"

// DenyMessage tells the person who is refused what happened, why, until when and
// how to be released, in two lines. unverified says that the pod could not be
// looked up and was judged by its name.
func DenyMessage(r Request, e *Entry, unverified bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s is denied: %s is quarantined %s",
		doorPhrase(r.Door), shown(r.Namespace+"/"+r.Pod, 2*maxShownName), subjectPhrase(e), untilPhrase(e.Expires))
	if e.Rule != "" {
		fmt.Fprintf(&b, " by rule \"%s\"", shown(e.Rule, maxShownName))
	}
	if e.Reason != e.Rule {
		fmt.Fprintf(&b, " (%s)", shown(e.Reason, maxShownReason))
	}
	if e.Detection != "" {
		fmt.Fprintf(&b, ", detection %s", shown(e.Detection, maxShownName))
	}
	b.WriteString(".")
	if unverified {
		fmt.Fprintf(&b, " Which pod has this name now could not be looked up; the quarantine is of the UID %s.", shown(e.Subject.UID, maxPodUID))
	}
	name := shown(e.Name, maxRule)
	fmt.Fprintf(&b, "\nTo release it: portcullisctl quarantine release %s (or kubectl delete quarantine %s)", name, name)
	return b.String()
}

func doorPhrase(door string) string {
	switch door {
	case "exec":
		return "exec into"
	case "attach":
		return "attach to"
	case "portforward":
		return "port-forward to"
	default:
		return shown(door, maxShownName) + " of"
	}
}

func subjectPhrase(e *Entry) string {
	if isPod(e) {
		return "the pod"
	}
	return fmt.Sprintf("user \"%s\"", shown(e.Subject.Name, maxShownName))
}

func untilPhrase(t time.Time) string {
	if t.IsZero() {
		return "until it is released"
	}
	return "until " + t.UTC().Format(timeFormat)
}

// shown makes a text that anybody may have written fit for a terminal and a log:
// bounded, on one line, with control characters and those that reorder text
// written out.
func shown(s string, limit int) string {
	var b strings.Builder
	n := 0
	for _, c := range s {
		if n++; n > limit {
			b.WriteString("…")
			break
		}
		switch {
		case unicode.IsPrint(c):
			b.WriteRune(c)
		default:
			fmt.Fprintf(&b, `\u%04x`, c)
		}
	}
	return b.String()
}
