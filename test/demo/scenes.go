package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/portcullis-dev/portcullis/test/harness"
)

// ownRules is the ConfigMap with the demo's own rule, endingRule its name.
const (
	ownRules   = "demo-rules"
	endingRule = "refused-request-ends-the-session"
)

// ownRule ends the session in which a refused request to the API server was made.
func ownRule() string {
	return `apiVersion: v1
kind: Namespace
metadata: {name: ` + harness.Namespace + `}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: ` + ownRules + `, namespace: ` + harness.Namespace + `}
data:
  ending.yaml: |
    apiVersion: portcullis.dev/v1alpha1
    kind: DetectionRule
    metadata: {name: ` + endingRule + `}
    spec:
      title: Request refused to a program in an exec session
      description: Ends the session in which somebody tries out the pod's token.
      severity: high
      riskScore: 73
      mode: enforce
      query: |
        sequence with maxspan=5s
          [process where event.action == "exec" and process.name == "curl" and process.entry_leader.interactive == true]
            by orchestrator.resource.name
          [any where event.dataset == "kubernetes.audit_logs" and kubernetes.audit.responseStatus.code == 403]
            by ` + "`kubernetes.audit.user.extra.authentication.kubernetes.io/pod-name`" + `
      response: {killSession: true}
`
}

// ended waits until the attacker's shell is no more.
func (s *story) ended(ctx context.Context, shell *harness.Terminal) error {
	heading("The open shell")
	before := len(shell.Output())
	code, err := shell.Ended(ctx)
	if err != nil {
		return fmt.Errorf("the session was not ended: %w", err)
	}
	rest := strings.TrimSpace(strings.ReplaceAll(shell.Output()[before:], "\r", ""))
	fmt.Printf("mallory@web-0$ … has ended (exit status %d) %s\n", code, rest)
	d, err := s.detections.Await(ctx, func(d harness.Detection) bool {
		return d.Document.Rule.ID == endingRule && d.Document.Orchestrator.Resource.ID == s.victim.UID
	})
	if err != nil {
		return fmt.Errorf("rule %s did not fire: %w", endingRule, err)
	}
	if action := d.Document.Portcullis.Detection.Action; action != "kill-session" {
		return fmt.Errorf("rule %s fired, but its action is %q (%s)", endingRule, action, d.Document.Portcullis.Detection.Why)
	}
	fmt.Printf("ended by rule %s; the pod runs on:\n", endingRule)
	return s.show(ctx, "kubectl", "get", "pod", "-n", namespace, pod)
}

// show runs a command as the administrator, and shows what it says.
func (s *story) show(ctx context.Context, program string, args ...string) error {
	r, err := s.cluster.Admin().Must(ctx, program, args...)
	if err != nil {
		return err
	}
	fmt.Printf("admin$ %s\n%s", r.Command, r.Stdout)
	return nil
}

// observed shows what rules in mode observe have told on the pod.
func (s *story) observed(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	heading("What was done, and what rules in mode observe would have done")
	for {
		r, err := s.cluster.Admin().Must(ctx, "kubectl", "get", "events", "-n", namespace, "--field-selector", "involvedObject.name="+pod,
			"-o", `jsonpath={range .items[*]}{.reason}{"\t"}{.note}{.message}{"\n"}{end}`)
		if err != nil {
			return err
		}
		var lines []string
		for line := range strings.Lines(r.Stdout) {
			if strings.HasPrefix(line, "Portcullis") {
				lines = append(lines, line)
			}
		}
		if all := strings.Join(lines, ""); strings.Contains(all, "PortcullisWouldQuarantine") && strings.Contains(all, "PortcullisDenied") &&
			strings.Contains(all, "PortcullisSessionKilled") {
			fmt.Printf("admin$ kubectl get events -n %s --field-selector involvedObject.name=%s\n%s", namespace, pod, all)
			return nil
		}
		if err := pause(ctx); err != nil {
			return fmt.Errorf("the pod's Events do not tell: %w\n%s", err, strings.Join(lines, ""))
		}
	}
}

// pause waits a little before something is looked at again that nobody tells of.
func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(200 * time.Millisecond):
		return nil
	}
}

// session is what the demo reads of one.
type session struct {
	ID          string   `json:"id"`
	Attribution string   `json:"attribution"`
	Command     []string `json:"command"`
	User        struct {
		Name string `json:"name"`
	} `json:"user"`
	Pod struct {
		UID string `json:"uid"`
	} `json:"pod"`
}

// whoRanWhat shows the attacker's session from its request to its end.
func (s *story) whoRanWhat(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	heading("Who ran what")
	id, err := s.attackersSession(ctx)
	if err != nil {
		return err
	}
	if err := s.show(ctx, "portcullisctl", "sessions", "list", "-n", namespace); err != nil {
		return err
	}
	return s.show(ctx, "portcullisctl", "sessions", "show", id)
}

// attackersSession waits until it is certain that the session was mallory's.
func (s *story) attackersSession(ctx context.Context) (id string, err error) {
	for {
		r, err := s.cluster.Admin().Must(ctx, "portcullisctl", "sessions", "list", "-n", namespace, "-o", "ndjson")
		if err != nil {
			return "", err
		}
		for line := range strings.Lines(r.Stdout) {
			var found session
			if err := json.Unmarshal([]byte(line), &found); err != nil {
				return "", fmt.Errorf("read a session: %w", err)
			}
			if found.Pod.UID == s.victim.UID && found.Attribution == "exact" && strings.Join(found.Command, " ") == "sh" {
				if found.User.Name != s.mallory.Name {
					return "", fmt.Errorf("the session is %q's, not %s's", found.User.Name, s.mallory.Name)
				}
				return found.ID, nil
			}
		}
		if err := pause(ctx); err != nil {
			return "", fmt.Errorf("it did not become certain whose the session was: %w\n%s", err, r.Stdout)
		}
	}
}

// release ends the quarantine.
func (s *story) release(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	heading("The quarantine, and how to end it")
	if err := s.show(ctx, "portcullisctl", "quarantine", "list"); err != nil {
		return err
	}
	if err := s.show(ctx, "portcullisctl", "quarantine", "release", "pod-"+s.victim.UID); err != nil {
		return err
	}
	r, err := s.letIn(ctx, s.mallory, namespace)
	if err != nil {
		return err
	}
	fmt.Printf("mallory$ %s\n%s", r.Command, r.Stdout)
	return nil
}

// letIn tries until an exec is let in: a release reaches everybody within moments, not at once.
func (s *story) letIn(ctx context.Context, who harness.User, where string) (harness.Result, error) {
	for {
		r, err := who.Run(ctx, "kubectl", "exec", "-n", where, pod, "--", "echo", "let in")
		if err != nil || r.Code == 0 {
			return r, err
		}
		if err := pause(ctx); err != nil {
			return r, fmt.Errorf("%s is not let in: %w", who.Name, r.Err())
		}
	}
}

// withoutPortcullis takes Portcullis away while mallory is in quarantine.
func (s *story) withoutPortcullis(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
	defer cancel()
	heading("Without Portcullis")
	for _, args := range [][]string{
		{"portcullisctl", "quarantine", "add", "user", "mallory", "--reason", "credentials stolen, see the incident channel"},
		{"kubectl", "scale", "-n", harness.Namespace, "statefulset/portcullis", "--replicas=0"},
		{"kubectl", "wait", "-n", harness.Namespace, "--for=delete", "pod/portcullis-0", "--timeout=120s"},
	} {
		if err := s.show(ctx, args[0], args[1:]...); err != nil {
			return err
		}
	}
	refused, err := s.mallory.Run(ctx, "kubectl", "exec", "-n", neighbour, pod, "--", "id")
	switch {
	case err != nil:
		return err
	case refused.Code == 0 || !strings.Contains(refused.Stderr, "credentials stolen"):
		return fmt.Errorf("mallory was not refused while Portcullis is down: %w", errors.Join(refused.Err(), errors.New(refused.Stdout)))
	}
	fmt.Printf("mallory$ %s\n%s", refused.Command, refused.Stderr)
	allowed, err := s.letIn(ctx, s.alice, neighbour)
	if err != nil {
		return err
	}
	fmt.Printf("alice$ %s\n%s", allowed.Command, allowed.Stdout)
	for _, args := range [][]string{
		{"kubectl", "delete", "quarantines", "--all"},
		{"kubectl", "scale", "-n", harness.Namespace, "statefulset/portcullis", "--replicas=1"},
		{"kubectl", "rollout", "status", "-n", harness.Namespace, "statefulset/portcullis", "--timeout=120s"},
	} {
		if err = s.show(ctx, args[0], args[1:]...); err != nil {
			return err
		}
	}
	r, err := s.letIn(ctx, s.mallory, neighbour)
	if err != nil {
		return err
	}
	fmt.Printf("mallory$ %s\n%s", r.Command, r.Stdout)
	return nil
}
