package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/portcullis-dev/portcullis/test/harness"
)

const (
	// forbiddenRule is the rule that the demo enforces.
	forbiddenRule = "forbidden-api-request-interactive"
	namespace     = "shop"
	neighbour     = "billing"
	pod           = "web-0"
)

// story is the demo's plot: who does what, and what came of it.
type story struct {
	cluster    *harness.Cluster
	detections *harness.Detections
	mallory    harness.User
	alice      harness.User
	// victim is the pod that mallory gets into.
	victim harness.Pod
}

func newStory(cluster *harness.Cluster) *story { return &story{cluster: cluster} }

func (s *story) tell(ctx context.Context) (err error) {
	s.detections, err = s.cluster.Detections(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.detections.Close()) }()

	for _, scene := range []func(context.Context) error{
		s.install, s.attackAndDenial, s.observed, s.whoRanWhat, s.release, s.withoutPortcullis,
	} {
		if err := scene(ctx); err != nil {
			if ctx.Err() == nil {
				s.cluster.Diagnose(ctx)
			}
			return err
		}
	}
	return nil
}

func (s *story) install(ctx context.Context) (err error) {
	heading("Installing Portcullis")
	s.mallory, err = s.cluster.User(ctx, "mallory", "devs")
	if err != nil {
		return err
	}
	s.alice, err = s.cluster.User(ctx, "alice", "devs")
	if err != nil {
		return err
	}
	if err := s.cluster.Admin().Apply(ctx, ownRule()); err != nil {
		return err
	}
	if err := s.cluster.Install(ctx, "config.mode=observe", "config.rules."+forbiddenRule+".mode=enforce",
		"ruleConfigMaps={"+ownRules+"}", "agent.endSessions=true",
		"config.notify.http.url="+s.detections.URL); err != nil {
		return err
	}
	return s.cluster.Deploy(ctx, harness.ExecRole("devs"),
		harness.Workload(namespace, pod, "web"), harness.Workload(neighbour, pod, "web"))
}

func (s *story) attackAndDenial(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	victim, err := s.cluster.Admin().Pod(ctx, namespace, pod)
	if err != nil {
		return err
	}
	s.victim = victim
	heading("The attack: mallory execs into " + namespace + "/" + pod)
	shell, err := s.attack(ctx)
	if shell != nil {
		defer shell.Close()
	}
	if err != nil {
		return err
	}

	detection, err := s.detections.Await(ctx, func(d harness.Detection) bool {
		return d.Document.Rule.ID == forbiddenRule && d.Document.Orchestrator.Resource.ID == victim.UID
	})
	if err != nil {
		return fmt.Errorf("rule %s did not fire: %w", forbiddenRule, err)
	}
	if action := detection.Document.Portcullis.Detection.Action; action != "quarantine" {
		return fmt.Errorf("rule %s fired, but its action is %q (%s)", forbiddenRule, action, detection.Document.Portcullis.Detection.Why)
	}

	refused, err := s.denied(ctx)
	if err != nil {
		return err
	}
	if err = s.ended(ctx, shell); err != nil {
		return err
	}
	heading("What was concluded")
	s.timeline(detection, refused)

	heading("Next door: the pod of the same name in " + neighbour)
	r, err := s.mallory.Must(ctx, "kubectl", "exec", "-n", neighbour, pod, "--", "echo", "still open")
	if err != nil {
		return fmt.Errorf("the pod of the same name must not be affected: %w", err)
	}
	fmt.Printf("mallory$ %s\n%s", r.Command, r.Stdout)

	heading("The denial")
	fmt.Printf("mallory$ %s\n%s", refused.Command, refused.Stderr)
	return nil
}

// prompt is the attacker's.
const prompt = "mallory@web-0$ "

// attack types what an attacker types, into a real shell behind a real kubectl exec.
func (s *story) attack(ctx context.Context) (*harness.Terminal, error) {
	fmt.Printf("mallory$ kubectl exec -it -n %s %s -- sh\n", namespace, pod)
	shell, err := s.mallory.Terminal(ctx, "exec", "-it", "-n", namespace, pod, "--", "sh")
	if err != nil {
		return nil, err
	}
	// The quotes keep the shell's echo of this line from looking like the prompt.
	if err := shell.Line(ctx, "PS1='mallory@''web-0$ '", prompt); err != nil {
		return shell, err
	}
	setUp := len(shell.Output()) - len(prompt)
	for _, line := range []string{
		"TOKEN=$(cat /var/run/secrets/kubernetes.io/serviceaccount/token)",
		`curl -sk -o /dev/null -w 'HTTP %{http_code}\n' -H "Authorization: Bearer $TOKEN" https://$KUBERNETES_SERVICE_HOST/api/v1/namespaces/` + namespace + "/secrets",
	} {
		if err := shell.Line(ctx, line, prompt); err != nil {
			return shell, err
		}
	}
	seen := strings.TrimSuffix(shell.Output()[setUp:], prompt)
	fmt.Print(strings.ReplaceAll(seen, "\r\n", "\n"))
	if !strings.Contains(seen, "HTTP 403") {
		return shell, errors.New("the API server did not refuse the call")
	}
	return shell, nil
}

// denied tries the exec again; it must be refused by Portcullis.
func (s *story) denied(ctx context.Context) (harness.Result, error) {
	r, err := s.mallory.Run(ctx, "kubectl", "exec", "-n", namespace, pod, "--", "id")
	switch {
	case err != nil:
		return r, err
	case r.Code == 0:
		return r, errors.New("the second exec was not denied")
	case !strings.Contains(r.Stderr, forbiddenRule):
		return r, fmt.Errorf("the second exec failed for another reason: %w", r.Err())
	}
	return r, nil
}

// moment is one line of the timeline.
type moment struct {
	at   time.Time
	what string
}

// timeline prints who did what when, relative to the API call that completed the chain.
func (s *story) timeline(d harness.Detection, refused harness.Result) {
	report := d.Document.Portcullis.Detection
	call := report.Events[len(report.Events)-1]
	concluded := d.Document.Event.Created
	moments := []moment{
		{call.Received(), "its audit event reaches the sink"},
		{concluded, "detection: " + d.Document.Rule.Name},
		{refused.Started, "mallory tries to exec again"},
		{refused.Ended, "… and is denied"},
	}
	for _, other := range s.detections.All() {
		detection := other.Document.Portcullis.Detection
		if other.Document.Orchestrator.Resource.ID != d.Document.Orchestrator.Resource.ID {
			continue
		}
		if detection.ID != report.ID {
			moments = append(moments, moment{other.Document.Event.Created, "detection: " + other.Document.Rule.Name + " (" + detection.Action + ")"})
		}
		for _, e := range detection.Events {
			moments = append(moments, moment{e.Time, e.Summary + "  [" + e.Source + "]"})
		}
	}
	slices.SortStableFunc(moments, func(a, b moment) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.what, b.what)) })
	moments = slices.CompactFunc(moments, func(a, b moment) bool { return a == b })

	fmt.Printf("%12s  (relative to the refused API call)\n", "ms")
	for _, m := range moments {
		fmt.Printf("%+12.1f  %s\n", ms(m.at.Sub(call.Time)), m.what)
	}
	fmt.Printf("\n  %-58s %8.1f ms\n", "API call -> its audit event at the sink", ms(call.Received().Sub(call.Time)))
	fmt.Printf("  %-58s %8.1f ms\n", "event at the sink -> detection", ms(concluded.Sub(call.Received())))
	fmt.Printf("  %-58s %8.1f ms\n", "detection -> next exec denied (kubectl's own time included)", ms(refused.Ended.Sub(concluded)))
	if os.Getenv("DEMO_JSON") != "" {
		fmt.Printf("%s\n", d.Raw)
	}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
