package nodestream

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/portcullis-dev/portcullis/agent/transport"
	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
	"github.com/portcullis-dev/portcullis/event"
)

func newSpool(tb testing.TB, dir, session string) *transport.Spool {
	tb.Helper()
	spool, err := transport.NewSpool(transport.SpoolOptions{Directory: dir, SessionID: session, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	return spool
}

func exec(word string) *telemetryv1.Event {
	return &telemetryv1.Event{
		Time: timestamppb.Now(), Container: &telemetryv1.Container{Id: "c", PodUid: "p"},
		Process: &telemetryv1.Process{Pid: 1, Args: []string{word}}, What: &telemetryv1.Event_Exec{Exec: &telemetryv1.ProcessExec{}},
	}
}

// TestWhatAnAgentSendsAgainAfterARestartIsOneEvent: its first process is stopped when the server has
// taken a batch over, and before it could say so.
func TestWhatAnAgentSendsAgainAfterARestartIsOneEvent(t *testing.T) {
	for name, restart := range map[string]bool{"to the server that has it": false, "to one that has only just started": true} {
		t.Run(name, func(t *testing.T) {
			to, p := newPipeline(), newPlace(t)
			ctx, kill := context.WithCancel(context.Background())
			defer kill()
			stopped := make(chan error, 1)
			to.before = func() {
				kill()
				if err := <-stopped; err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("the first process ended with %v", err)
				}
			}
			_, stop := p.serve(to)
			first := newSpool(t, p.spool, "first")
			first.Push(exec("once"))
			go func() { stopped <- p.client("boot", "first", first, nil).Run(ctx) }()
			before := to.await(t, "once")
			to.mu.Lock()
			to.before = nil
			to.mu.Unlock()
			if restart {
				stop()
				p.serve(to)
			}

			second := newSpool(t, p.spool, "second")
			second.Push(exec("new"))
			second.Close()
			if err := p.client("boot", "second", second, nil).Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			after := slices.DeleteFunc(to.all()[1:], func(e *event.Event) bool { return slices.Contains(e.Process.Args, "new") })
			switch {
			case to.executed("new") == nil:
				t.Error("what the second process saw itself did not arrive")
			case !restart && len(after) != 0:
				t.Errorf("what had arrived was handed on again: %v", after)
			case restart && (len(after) != 1 || after[0].ID != before.ID || !after[0].Time.Equal(before.Time)):
				t.Errorf("what had arrived as %s at %v came again as %v", before.ID, before.Time, after)
			}
		})
	}
}
