package serverprocess_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/portcullis-dev/portcullis/config"
	"github.com/portcullis-dev/portcullis/status"
	"github.com/portcullis-dev/portcullis/test/serverprocess"
)

const ownRule = `apiVersion: portcullis.dev/v1alpha1
kind: DetectionRule
metadata: {name: own}
spec: {title: Own, description: A rule., severity: low, riskScore: 1, query: 'any where event.action == "exec"'}
`

// TestWrongRulesAcrossAKill: a server that was killed comes back with the rules that it had, and says that
// their files are not right.
func TestWrongRulesAcrossAKill(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "own.yaml")
	if err := os.WriteFile(file, []byte(ownRule), 0o600); err != nil {
		t.Fatal(err)
	}
	none := false
	site := serverprocess.New(t, serverprocess.Options{Configure: func(c *config.Config) { c.RuleDirectories, c.ShippedRules = []string{dir}, &none }})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	site.Start(t)
	site.Kill()
	if err := os.WriteFile(file, []byte(strings.Replace(ownRule, "event.action", "event.acton", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	site.Start(t)
	site.Process().WaitFor(ctx, t, func(ctx context.Context) error { return refused(ctx, site, true) })
	metrics, err := site.Metrics(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got := metrics["portcullis_rules_last_reload_successful"].GetMetric()[0].GetGauge().GetValue(); got != 0 {
		t.Errorf("the last reload's success is %v", got)
	}

	if err := os.WriteFile(file, []byte(ownRule), 0o600); err != nil {
		t.Fatal(err)
	}
	site.Process().WaitFor(ctx, t, func(ctx context.Context) error { return refused(ctx, site, false) })
	site.Stop(t)
}

// refused is nil if the server says that it has one rule, and that its file was refused, or was not.
func refused(ctx context.Context, site *serverprocess.Site, want bool) error {
	published, err := site.Client.CoreV1().ConfigMaps(serverprocess.Namespace).Get(ctx, status.ConfigMap, metav1.GetOptions{})
	if err != nil {
		return err
	}
	said, err := status.Decode([]byte(published.Data[status.Key]))
	switch {
	case err != nil:
		return err
	case said.Rules.Loaded != 1 || said.Rules.Refused != want:
		return fmt.Errorf("it says %+v", said.Rules)
	}
	return nil
}
