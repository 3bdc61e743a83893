package sessions

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/portcullis-dev/portcullis/ctl/output"
	"github.com/portcullis-dev/portcullis/execsession"
)

const (
	// overlap is how much earlier than the loss of a stream is looked for what it has missed.
	overlap = time.Minute
	// maxTold bounds what is remembered of sessions that were printed; then all is forgotten, and some may be printed again.
	maxTold = 20_000
)

func followCommand(r *run) *cobra.Command {
	var f filter
	var format output.Format
	var bare bool
	c := &cobra.Command{
		Use:     "follow",
		Aliases: []string{"watch"},
		Short:   "Tell of sessions as they happen, until interrupted",
		Long: "Prints the sessions that are open, and then each that begins, ends, or of which more becomes\n" +
			"known. A lost connection is made again, and what was missed meanwhile is told. Ctrl-C ends it.",
		Example: `  portcullisctl sessions follow
  portcullisctl sessions follow -n shop --attribution none
  portcullisctl sessions follow -o ndjson | jq 'select(.detections)'`,
		Args: cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			f.namespace = r.Namespace("")
			teller := newTeller(r, format, bare)
			return (&follower{run: r, filter: f, teller: teller}).follow(c.Context())
		},
	}
	f.addFlags(c)
	output.AddFlagOf(c, &format, output.JSON, output.YAML, output.NDJSON, output.Wide)
	c.Flags().BoolVar(&bare, "no-headers", false, "Leave the table's header out")
	return c
}

// follower keeps up a stream.
type follower struct {
	*run
	filter filter
	teller *teller
	// lost is when the last stream was lost, zero before the first.
	lost time.Time
}

// follow prints changes until ctx ends. What fails before the first stream is an error; later it is tried again.
func (f *follower) follow(ctx context.Context) error {
	retry := f.Retry
	for {
		began := false
		err := f.once(ctx, func() { began, retry = true, f.Retry })
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // to interrupt it is how it ends
		case !began && (f.lost.IsZero() || final(err)):
			return err
		case f.teller.err != nil:
			return f.teller.err
		}
		if began || f.lost.IsZero() {
			f.lost = f.Now()
		}
		if !f.pause(ctx, &retry, err) {
			return nil
		}
	}
}

// final reports whether to try again cannot help.
func final(err error) bool {
	var refused *refusal
	return errors.As(err, &refused) && !refused.temporary()
}

// pause says what happened and waits; false when ctx has ended.
func (f *follower) pause(ctx context.Context, retry *wait.Backoff, err error) bool {
	delay := retry.Step()
	fmt.Fprintf(f.Streams.ErrOut, "The connection was lost (%s); again in %s.\n", output.Text(err.Error()), delay.Round(time.Millisecond))
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// once follows until the stream ends, and says why it did.
func (f *follower) once(ctx context.Context, began func()) error {
	return f.with(ctx, func(from feed) error {
		// The stream comes first, so that nothing falls between it and what has been.
		return from.follow(ctx, f.filter.values(f.Now()), func() error {
			began()
			return f.catchUp(ctx, from)
		}, f.teller.tell)
	})
}

// catchUp tells what a stream does not: the sessions that are open when the first begins, and what was missed between two.
func (f *follower) catchUp(ctx context.Context, from feed) error {
	query := f.filter.values(f.Now())
	if !f.lost.IsZero() {
		query.Set("since", f.lost.Add(-overlap).UTC().Format(time.RFC3339Nano))
	}
	found, err := from.list(ctx, query, false)
	if err != nil {
		return err
	}
	for i := range slices.Backward(found) { // the oldest first
		open := found[i].State == execsession.StateOpen || found[i].State == execsession.StateRequested
		if !open && f.lost.IsZero() {
			continue
		}
		if err := f.teller.tell(found[i]); err != nil {
			return err
		}
	}
	return nil
}

// teller prints sessions, each again only when there is something new to see.
type teller struct {
	*run
	format output.Format
	rows   *output.Rows
	told   map[string][sha256.Size]byte
	// err is of the output, which no new connection mends.
	err error
}

func newTeller(r *run, format output.Format, bare bool) *teller {
	t := &teller{run: r, format: format, told: map[string][sha256.Size]byte{}}
	if format.IsTable() {
		t.rows = output.NewRows(r.Streams.Out, format, append([]output.Column{{Name: "Seen"}}, columns()...)...)
		if bare {
			t.rows = t.rows.WithoutHeaders()
		}
	}
	return t
}

func (t *teller) tell(s session) error {
	visible := s.raw
	if t.rows != nil {
		visible = []byte(strings.Join(row(&s, began(&s)), "\x00")) // without the age, which changes all the time
	}
	seen := sha256.Sum256(visible)
	if t.told[s.ID] == seen {
		return nil
	}
	if len(t.told) >= maxTold {
		clear(t.told)
	}
	t.told[s.ID] = seen
	t.err = t.print(&s)
	return t.err
}

func (t *teller) print(s *session) error {
	if t.format == output.YAML {
		fmt.Fprintln(t.Streams.Out, "---")
	}
	if t.rows == nil {
		return output.Value(t.Streams.Out, t.format, s.raw)
	}
	at := unknown
	if !s.LastSeen.IsZero() {
		at = s.LastSeen.UTC().Format("15:04:05.000")
	}
	return t.rows.Print(append([]string{at}, row(s, t.Now())...))
}
