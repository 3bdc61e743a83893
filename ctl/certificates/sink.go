package certificates

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"text/template"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/portcullis-dev/portcullis/pki"
)

//go:embed begin.txt
var beginText string

//go:embed finish.txt
var finishText string

//go:embed finished.txt
var finishedText string

// standardOutput is the trust file's name for it.
const standardOutput = "-"

// target is where the trust file goes.
type target struct {
	name  string
	force bool
}

func beginCommand(o Options) *cobra.Command {
	var to target
	c := &cobra.Command{
		Use:   "begin --trust-file FILE",
		Short: "Make the next sink CA, and the file by which API servers trust both",
		Long: "Makes the next CA of the audit sink and of API servers' client certificates. The sink lets\n" +
			"in clients of both from then on. Writes the file by which API servers trust both, and\n" +
			"prints what to do with it on every control plane host. Nothing is locked out, and nothing\n" +
			"has to be done in a hurry: the old CA signs until \"rotate sink finish\".\n\n" +
			"Once begun, it only writes the file and prints the same again.\n\n" +
			"You need to be allowed to update the Secrets of Portcullis' namespace.",
		Example: `  portcullisctl certificates rotate sink begin --trust-file ca.crt
  portcullisctl certificates rotate sink begin --trust-file - > ca.crt`,
		Args: cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			return o.with(c.Context(), func(ctx context.Context, s *site) error { return o.begin(ctx, s, to) })
		},
	}
	c.Flags().StringVar(&to.name, "trust-file", "", "Where to write the certificates that API servers are to trust the sink by; - for standard output")
	c.Flags().BoolVar(&to.force, "force", false, "Overwrite the file if it exists")
	_ = c.MarkFlagFilename("trust-file", "crt", "pem")
	return c
}

func (o Options) begin(ctx context.Context, s *site, to target) error {
	if err := to.check(s.foreignSink()); err != nil {
		return err
	}
	before, err := s.store.SinkState(ctx)
	if err == nil {
		err = s.started(before)
	}
	if err == nil {
		err = s.store.BeginSinkCA(ctx)
	}
	if err != nil {
		return s.explain("make the next sink CA", err)
	}
	trust, err := s.store.SinkTrust(ctx)
	if err != nil {
		return s.explain("read what API servers are to trust", err)
	}
	instructions := o.Streams.Out
	switch to.name {
	case "":
	case standardOutput:
		instructions = o.Streams.ErrOut // what is piped is the file alone
		_, err = o.Streams.Out.Write(trust.PEM())
	default:
		err = trust.WriteFile(to.name)
	}
	if err != nil {
		return fmt.Errorf("the next sink CA is made, but its file is not written; run this again: %w", err)
	}
	return o.explainSink(instructions, beginText, map[string]any{
		"Already": before.Next() != nil, "Foreign": s.foreignSink(), "Flag": s.flag(), "File": to.name, "Count": len(trust),
	})
}

// check fails before anything is made that would have nowhere to go.
func (t target) check(foreign bool) error {
	switch {
	case foreign && t.name == "":
		return nil
	case foreign:
		return errors.New("--trust-file: the sink's certificate is somebody else's (pki.sinkTLSSecret in the chart's values), and API servers trust it by that one's CA: " +
			"there is no file to replace. Leave the flag out")
	case t.name == "":
		return errors.New("say where the file goes by which API servers trust both CAs: --trust-file ca.crt, or - for standard output")
	case t.name == standardOutput:
		return nil
	}
	if _, err := os.Lstat(t.name); err == nil && !t.force {
		return fmt.Errorf("%s is there already: --force overwrites", t.name)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("--trust-file: %w", err)
	}
	if _, err := os.Stat(filepath.Dir(t.name)); err != nil {
		return fmt.Errorf("--trust-file: %w", err)
	}
	return nil
}

func finishCommand(o Options) *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use:   "finish",
		Short: "Let the next sink CA sign, once all API servers trust it",
		Long: "Lets the CA sign that \"rotate sink begin\" has made: the sink's own certificate now, those of\n" +
			"API servers when you make them anew. An API server that does not trust it yet cannot\n" +
			"deliver its audit events any more. Without --yes it only says what must have been done.\n\n" +
			"You need to be allowed to update the Secrets of Portcullis' namespace.",
		Example: `  portcullisctl certificates rotate sink finish
  portcullisctl certificates rotate sink finish --yes`,
		Args: cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			return o.with(c.Context(), func(ctx context.Context, s *site) error { return o.finish(ctx, s, yes) })
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "Confirm that all of it is done, on every control plane host")
	return c
}

func (o Options) finish(ctx context.Context, s *site, yes bool) error {
	state, err := s.store.SinkState(ctx)
	if err != nil {
		return s.explain("read the sink CA", err)
	}
	next := state.Next()
	if next == nil {
		return errors.New("no other sink CA is prepared: portcullisctl certificates rotate sink begin makes it")
	}
	says := map[string]any{
		"Foreign": s.foreignSink(), "Flag": s.flag(), "Namespace": s.namespace, "Secret": s.settings.SinkCASecret, "Trusted": lasting(next.Since, o.Now()),
		"OldEnds": state.Signs().Certificate.NotAfter.UTC().Format(time.DateOnly),
	}
	if !yes {
		if err := o.explainSink(o.Streams.Out, finishText, says); err != nil {
			return err
		}
		return errors.New("nothing was changed: add --yes when all of this is done")
	}
	if err := s.store.FinishSinkCA(ctx); err != nil {
		return s.explain("let the next sink CA sign", err)
	}
	if err := s.signs(ctx, next, o.Now()); err != nil {
		return err
	}
	return o.explainSink(o.Streams.Out, finishedText, says)
}

// signs fails if the next authority does not sign now, as when it is not valid yet.
func (s *site) signs(ctx context.Context, next *pki.Authority, now time.Time) error {
	state, err := s.store.SinkState(ctx)
	if err != nil {
		return s.explain("read the sink CA", err)
	}
	if signs := state.Signs(); signs != nil && signs.Certificate.Equal(next.Certificate) {
		return nil
	}
	if begins := next.Certificate.NotBefore; now.Before(begins) {
		return fmt.Errorf("nothing was changed: the next sink CA is valid in %s only; it was made by a clock that is ahead of this one",
			duration.HumanDuration(begins.Sub(now)))
	}
	return errors.New("somebody else has changed the sink CA meanwhile: portcullisctl certificates show says how it is")
}

func (o Options) explainSink(out io.Writer, text string, values map[string]any) error {
	t, err := template.New("instructions").Parse(text)
	if err != nil {
		return fmt.Errorf("parse instructions: %w", err)
	}
	if err := t.Execute(out, values); err != nil {
		return fmt.Errorf("print instructions: %w", err)
	}
	return nil
}
