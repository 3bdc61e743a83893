package auditconfig

import (
	_ "embed"
	"fmt"
	"io"
	"path/filepath"
	"text/template"
	"time"
)

//go:embed instructions.txt
var instructionsText string

// instructions prints what to do with the files.
func instructions(out io.Writer, s settings, b bundle) error {
	t, err := template.New("instructions").Parse(instructionsText)
	if err != nil {
		return fmt.Errorf("parse instructions: %w", err)
	}
	err = t.Execute(out, map[string]any{
		"APIServer":   s.apiServer,
		"Namespace":   s.namespace,
		"OutputDir":   s.outputDir,
		"InstallPath": s.installPath,
		"Copied":      s.outputDir != s.installPath,
		"Blocking":    s.mode == blocking,
		"Token":       s.auth == byToken,
		"URL":         b.url,
		"Expires":     b.proof.expires().UTC().Format(time.DateOnly),
		"Flags":       serverFlags(s),
	})
	if err != nil {
		return fmt.Errorf("print instructions: %w", err)
	}
	return nil
}

// serverFlags are the flags to set on the API server.
func serverFlags(s settings) []string {
	flags := []string{
		"--audit-policy-file=" + filepath.Join(s.installPath, policyFile),
		"--audit-webhook-config-file=" + filepath.Join(s.installPath, kubeconfigFile),
		"--audit-webhook-version=audit.k8s.io/v1",
		"--audit-webhook-mode=" + string(s.mode),
		// Bounds what one delivery holds (10 MiB, which the sink takes), so that a
		// few huge requests cannot make it refuse a batch. The event size is above
		// what a request's URI and headers (1 MiB) can grow to in JSON, since an
		// event that exceeds it is thrown away: the default of 100 KiB would let
		// somebody hide an exec behind a long command line.
		"--audit-webhook-truncate-enabled=true",
		"--audit-webhook-truncate-max-event-size=8388608",
	}
	if s.mode == blocking {
		// The default of 10 s would make each request wait 80 s while the sink is away.
		return append(flags, "--audit-webhook-initial-backoff=1s")
	}
	// The default of 30 s is the time that an attacker has before anybody knows.
	return append(flags, "--audit-webhook-batch-max-wait=1s")
}
