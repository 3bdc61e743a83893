package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/portcullis-dev/portcullis/config"
	"github.com/portcullis-dev/portcullis/test/serverprocess"
	"github.com/portcullis-dev/portcullis/test/standalone"
)

// borrowed is the program that the rule below wants.
const borrowed = "borrowed"

// userRule quarantines who made the request, the pod's service account, and not the pod.
const userRule = `apiVersion: portcullis.dev/v1alpha1
kind: DetectionRule
metadata: {name: borrowed-account}
spec:
  title: A program is run in a pod, and the pod makes a request
  description: A test.
  severity: low
  riskScore: 1
  query: |
    sequence with maxspan=60s
      [process where event.action == "exec" and process.name == "` + borrowed + `"] by orchestrator.resource.name
      [any where event.dataset == "kubernetes.audit_logs" and kubernetes.audit.stage in ("ResponseStarted", "ResponseComplete")
      ] by ` + "`kubernetes.audit.user.extra.authentication.kubernetes.io/pod-name`" + `
  response: {quarantine: {subject: user, duration: 1h}}
`

const (
	// apiServer is the API server's name at the audit sink.
	apiServer = "cp-1"
	// patience bounds what a loaded machine may take for one step.
	patience = 3 * time.Minute
	// unbounded is more than there are trials.
	unbounded = 1_000_000
	// callTimeout is the API server's for the webhook: above every wait that can be configured, so that only the
	// barrier's own time can be over.
	callTimeout = 10
)

// open is the site, with the rules in the mode enforce, and no bound on how many quarantines they make.
func open(t standalone.TB, o options) *serverprocess.Site {
	t.Helper()
	rules := t.TempDir()
	if err := os.WriteFile(filepath.Join(rules, "borrowed-account.yaml"), []byte(userRule), 0o600); err != nil {
		t.Fatal(err)
	}
	site := serverprocess.New(t, serverprocess.Options{
		Binary: o.binary, WatchLag: o.watchLag, Values: fmt.Sprintf("webhook: {timeoutSeconds: %d}", callTimeout),
		Configure: func(c *config.Config) {
			c.Mode, c.RuleDirectories, c.Audit.CanaryPeriod.Duration = config.Enforce, []string{rules}, time.Second
			c.Gate.Breaker = config.BreakerConfig{PerRulePerHour: unbounded, TotalPerHour: unbounded, MaxQuarantines: unbounded}
			c.Gate.Barrier.Timeout.Duration, c.Gate.Barrier.FailMode = o.timeout, config.FailOpen
		},
	})
	if o.keep != "" {
		t.Cleanup(func() {
			if err := site.Keep(o.keep); err != nil {
				t.Errorf("keep the server's files: %v", err)
			}
		})
	}
	site.Start(t)
	return site
}

// block has the API server deliver its audit events before it answers. Only now, that somebody takes them: it would wait for long
// otherwise. It returns the file that it writes them to as well.
func block(t standalone.TB, site *serverprocess.Site) (log string) {
	t.Helper()
	log = filepath.Join(t.TempDir(), "audit.log")
	site.API.AddArgs(append(site.AuditFlags(t, apiServer), "--audit-webhook-mode=blocking", "--audit-log-path="+log, "--audit-log-mode=blocking",
		"--audit-log-maxsize=10000")...)
	site.API.Kill()
	site.API.Restart(t)
	t.Cleanup(site.Kill) // Before the API server ends, without which the server would take long.
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := site.AwaitClock(ctx, "audit/"+apiServer, 0); err != nil {
		t.Fatal(err)
	}
	return log
}
