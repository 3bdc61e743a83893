package sessions

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/portcullis-dev/portcullis/event"
)

// filter is which sessions are meant.
type filter struct {
	user, namespace, pod string
	attribution          attribution
	since, until         moment
	limit                int
}

// addFlags adds the flags that also make sense for sessions to come.
func (f *filter) addFlags(c *cobra.Command) {
	c.Flags().StringVar(&f.user, "user", "", "Those of one user, also where they may have asked or impersonated another")
	c.Flags().StringVar(&f.pod, "pod", "", "Those in pods of that name")
	c.Flags().Var(&f.attribution, "attribution", "Those with that attribution: exact, candidates or none")
	_ = c.RegisterFlagCompletionFunc("attribution", cobra.FixedCompletions(attributions(), cobra.ShellCompDirectiveNoFileComp))
	for _, flag := range []string{"user", "pod"} {
		_ = c.RegisterFlagCompletionFunc(flag, cobra.NoFileCompletions)
	}
}

// addTimeFlags adds those for what has been.
func (f *filter) addTimeFlags(c *cobra.Command) {
	c.Flags().Var(&f.since, "since", "Those that were seen after then: how long ago, such as 1h or 2d, or a time such as 2026-01-31T15:04:05Z")
	c.Flags().Var(&f.until, "until", "Those that began before then, as with --since")
	c.Flags().IntVar(&f.limit, "limit", 0, "At most so many, the latest; all unless set")
}

// values are the parameters of a request.
func (f filter) values(now time.Time) url.Values {
	v := url.Values{}
	set := func(name, value string) {
		if value != "" {
			v.Set(name, value)
		}
	}
	set("user", f.user)
	set("namespace", f.namespace)
	set("pod", strings.TrimPrefix(f.pod, "pod/"))
	set("attribution", string(f.attribution))
	set("since", f.since.at(now))
	set("until", f.until.at(now))
	if f.limit > 0 {
		v.Set("limit", strconv.Itoa(f.limit))
	}
	return v
}

// attribution is a flag.
type attribution event.Attribution

func attributions() []string {
	return []string{string(event.AttributionExact), string(event.AttributionCandidates), string(event.AttributionNone)}
}

func (a *attribution) String() string { return string(*a) }
func (a *attribution) Type() string   { return "attribution" }

func (a *attribution) Set(text string) error {
	for _, known := range attributions() {
		if text == known {
			*a = attribution(text)
			return nil
		}
	}
	return fmt.Errorf("must be one of %s", strings.Join(attributions(), ", "))
}

// moment is a flag for a time, or for how long ago it was.
type moment struct {
	text string
	time time.Time
	ago  time.Duration
}

func (m *moment) String() string { return m.text }
func (m *moment) Type() string   { return "time" }

func (m *moment) Set(text string) error {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		*m = moment{text: text, time: at}
		return nil
	}
	ago, err := span(text)
	if err != nil || ago < 0 {
		return fmt.Errorf("must be how long ago, such as 1h or 2d, or a time such as 2026-01-31T15:04:05Z")
	}
	*m = moment{text: text, ago: ago}
	return nil
}

// span reads what time.ParseDuration does, and days.
func span(text string) (time.Duration, error) {
	const day, most = 24 * time.Hour, 100_000
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.Atoi(days)
		if err != nil || n > most {
			return 0, fmt.Errorf("%q are no days", text)
		}
		return time.Duration(n) * day, nil
	}
	return time.ParseDuration(text)
}

// at is the time as the server reads it, empty for none.
func (m *moment) at(now time.Time) string {
	switch {
	case m.text == "":
		return ""
	case m.time.IsZero():
		return now.Add(-m.ago).UTC().Format(time.RFC3339Nano)
	default:
		return m.time.UTC().Format(time.RFC3339Nano)
	}
}
