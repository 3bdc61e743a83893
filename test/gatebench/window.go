package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/portcullis-dev/portcullis/config"
	"github.com/portcullis-dev/portcullis/test/apiserver"
	"github.com/portcullis-dev/portcullis/test/serverprocess"
	"github.com/portcullis-dev/portcullis/test/standalone"
)

// inside is the namespace of the pods that misbehave.
const inside = "inside"

// Of the rules one wants a single request, the other two of the same pod.
const (
	oneRequest = `apiVersion: portcullis.dev/v1alpha1
kind: DetectionRule
metadata: {name: one-request}
spec:
  title: A pod lists leases
  description: A benchmark.
  severity: low
  riskScore: 1
  query: |
    any where event.dataset == "kubernetes.audit_logs" and kubernetes.audit.requestURI like "*/leases*" and
      ` + "`kubernetes.audit.user.extra.authentication.kubernetes.io/pod-name`" + ` like "*"
  response: {quarantine: {subject: pod, duration: 1h}}
`
	twoRequests = `apiVersion: portcullis.dev/v1alpha1
kind: DetectionRule
metadata: {name: two-requests}
spec:
  title: A pod lists secrets, then config maps
  description: A benchmark.
  severity: low
  riskScore: 1
  query: |
    sequence by ` + "`kubernetes.audit.user.extra.authentication.kubernetes.io/pod-name`" + ` with maxspan=1m
      [any where event.dataset == "kubernetes.audit_logs" and kubernetes.audit.requestURI like "*/secrets*"]
      [any where event.dataset == "kubernetes.audit_logs" and kubernetes.audit.requestURI like "*/configmaps*"]
  response: {quarantine: {subject: pod, duration: 1h}}
`
)

// requests are what a pod does to fulfil each rule.
func requests() map[string][]string {
	return map[string][]string{
		"one request":  {"/apis/coordination.k8s.io/v1/namespaces/" + inside + "/leases"},
		"two requests": {"/api/v1/namespaces/" + inside + "/secrets", "/api/v1/namespaces/" + inside + "/configmaps"},
	}
}

// mode is how an API server sends its audit events.
type mode struct {
	name  string
	flags []string
	// batch is how long it collects them. Trials begin at any time of it, and between two execs there is a
	// hundredth of it: they are audited as well, and many would fill the batch.
	batch  time.Duration
	bounds []time.Duration // of the histogram
}

func modes() []mode {
	return []mode{
		{
			"batches, of at most 1 s", []string{"--audit-webhook-mode=batch", "--audit-webhook-batch-max-wait=1s"}, time.Second,
			[]time.Duration{100e6, 200e6, 300e6, 400e6, 500e6, 600e6, 700e6, 800e6, 900e6, 1e9, 1.1e9, 1.2e9},
		},
		{"blocking", []string{"--audit-webhook-mode=blocking"}, 0, []time.Duration{1e6, 2e6, 5e6, 10e6, 20e6, 50e6, 100e6}},
	}
}

// window is what one trial shows.
type window struct {
	// closed is from the end of the answer to the pod's last request to the first exec that was refused being sent.
	closed time.Duration
	// admitted are the execs that got in meanwhile.
	admitted int
	// policy: the API server itself refused it, not the webhook.
	policy bool
}

// printWindows prints how long after a request the gate is still open.
func printWindows(t standalone.TB, out io.Writer, o options) {
	t.Helper()
	site, objects := enforcing(t, o, oneRequest, twoRequests)
	namespace(t, objects, inside)
	site.Start(t)
	fmt.Fprintf(out, "From a pod's API call to the gate being shut, in ms, %d trials each\n\n", o.trials)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "audit webhook\trule\tp50\tp90\tmax\ttrials in which an exec got in\tby the policy\t")
	var histograms bytes.Buffer
	for _, mode := range modes() {
		server := apiserver.Start(t, apiserver.Options{Beside: site.API, Args: append(site.AuditFlags(t, "bench"), mode.flags...)})
		for _, rule := range []string{"one request", "two requests"} {
			got := windows(t, server, objects, mode, requests()[rule], o.trials)
			printRow(table, mode.name, rule, got)
			fmt.Fprintf(&histograms, "%s, %s:\n%s\n", mode.name, rule, histogram(closures(got), mode.bounds...))
		}
		server.Kill()
	}
	_ = table.Flush()
	fmt.Fprintf(out, "\n%s", histograms.String())
}

func printRow(table io.Writer, mode, rule string, got []window) {
	open, policy := 0, 0
	for _, w := range got {
		if w.admitted > 0 {
			open++
		}
		if w.policy {
			policy++
		}
	}
	times := closures(got)
	fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d of %d\t%d\t\n", mode, rule, millis(quantile(times, 50)), millis(quantile(times, 90)), millis(quantile(times, 100)),
		open, len(got), policy)
}

func closures(got []window) []time.Duration {
	times := make([]time.Duration, len(got))
	for i, w := range got {
		times[i] = w.closed
	}
	return times
}

// enforcing is a server, not started yet, that does what its rules ask for, however often.
func enforcing(t standalone.TB, o options, rules ...string) (*serverprocess.Site, client.Client) {
	t.Helper()
	dir := t.TempDir()
	for i, text := range rules {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.yaml", i)), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	site := serverprocess.New(t, serverprocess.Options{Binary: o.binary, Configure: func(c *config.Config) {
		c.Mode = "enforce"
		c.RuleDirectories, c.ShippedRules = []string{dir}, new(false)
		c.Gate.Breaker = config.BreakerConfig{PerRulePerHour: 1e6, TotalPerHour: 1e6, MaxQuarantines: 1e6}
	}})
	objects := typed(t, site.API)
	permit(t, objects)
	return site, objects
}

func windows(t standalone.TB, server *apiserver.Server, objects client.Client, m mode, paths []string, trials int) []window {
	t.Helper()
	people := newCaller(t, server.UserConfig(t, person, people))
	got := make([]window, trials)
	for i := range got {
		p := unscheduled(inside, "")
		p.GenerateName = "trial-"
		create(t, objects, p)
		inPod := newCaller(t, asPod(t, server, objects, p))
		wait(t, rand.N(m.batch+1)) //nolint:gosec // nobody is to be surprised
		got[i] = trial(t, inPod, people, p.Name, paths, m.batch/100)
	}
	return got
}

// trial lets the pod make its requests and somebody try to get into it, until he is refused.
func trial(t standalone.TB, pod, people *caller, name string, paths []string, pause time.Duration) window {
	t.Helper()
	// Both connections are there.
	for _, w := range []*caller{pod, people} {
		if _, _, err := w.get(t.Context(), "/version"); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range paths {
		if code, body, err := pod.get(t.Context(), path); err != nil || code != 200 {
			t.Fatalf("the pod's request: %v %d %s", err, code, body)
		}
	}
	end := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for w := (window{}); ; w.admitted++ {
		w.closed = time.Since(end)
		admitted, message, err := people.exec(ctx, inside, name)
		if err != nil {
			t.Fatal(err)
		}
		if !admitted {
			w.policy = bytes.Contains(message, []byte("ValidatingAdmissionPolicy"))
			return w
		}
		wait(t, pause)
	}
}

func wait(t standalone.TB, d time.Duration) {
	t.Helper()
	select {
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	case <-time.After(d):
	}
}

// asPod is a client with the pod's token, as one in the pod has it.
func asPod(t standalone.TB, server *apiserver.Server, objects client.Client, p *corev1.Pod) *rest.Config {
	t.Helper()
	r := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: p.Name, UID: p.UID},
	}}
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: account}}
	if err := objects.SubResource("token").Create(t.Context(), sa, r); err != nil {
		t.Fatalf("token of a pod: %v", err)
	}
	config := rest.AnonymousClientConfig(server.Config)
	config.BearerToken = r.Status.Token
	return config
}
