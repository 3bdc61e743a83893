package audit

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	apiaudit "k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/audit/policy"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

const (
	server = "system:serviceaccount:guard:portcullis"
	pod    = "system:serviceaccount:shop:cart"
)

// evaluator is the API server's own reading of the rendered policy.
func evaluator(t *testing.T) apiaudit.PolicyRuleEvaluator {
	t.Helper()
	o := Default()
	o.Namespace = "guard"
	text, err := Policy(o)
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.LoadPolicyFromBytes(text)
	if err != nil {
		t.Fatalf("the API server would refuse the policy: %v", err)
	}
	return policy.NewPolicyRuleEvaluator(p)
}

// request is one API request; one with a path is for no resource.
type request struct {
	user, groups string
	verb         string
	group        string
	resource     string
	subresource  string
	namespace    string
	name         string
	path         string
}

func (r request) attributes() authorizer.Attributes {
	return authorizer.AttributesRecord{
		User:            &user.DefaultInfo{Name: r.user, Groups: strings.Fields(r.groups)},
		Verb:            r.verb,
		APIGroup:        r.group,
		APIVersion:      "v1",
		Resource:        r.resource,
		Subresource:     r.subresource,
		Namespace:       r.namespace,
		Name:            r.name,
		ResourceRequest: r.path == "",
		Path:            r.path,
	}
}

func TestLevels(t *testing.T) {
	const (
		none     = auditinternal.LevelNone
		metadata = auditinternal.LevelMetadata
		body     = auditinternal.LevelRequest
	)
	e := evaluator(t)
	for name, tc := range map[string]struct {
		request request
		want    auditinternal.Level
	}{
		"exec, websocket":        {request{user: "alice", verb: "get", resource: "pods", subresource: "exec", namespace: "shop", name: "web-0"}, body},
		"exec, SPDY":             {request{user: "alice", verb: "create", resource: "pods", subresource: "exec", namespace: "shop", name: "web-0"}, body},
		"exec by a node":         {request{user: "system:node:n1", groups: "system:nodes", verb: "get", resource: "pods", subresource: "exec", namespace: "shop", name: "web-0"}, body},
		"exec by the scheduler":  {request{user: "system:kube-scheduler", verb: "get", resource: "pods", subresource: "exec", namespace: "shop", name: "web-0"}, body},
		"exec by Portcullis":     {request{user: server, verb: "create", resource: "pods", subresource: "exec", namespace: "guard", name: "portcullis-0"}, body},
		"run through a node":     {request{user: "system:apiserver", verb: "get", resource: "nodes", subresource: "proxy", name: "n1"}, body},
		"debug":                  {request{user: "alice", verb: "patch", resource: "pods", subresource: "ephemeralcontainers", namespace: "shop", name: "web-0"}, metadata},
		"debug by update":        {request{user: "alice", verb: "update", resource: "pods", subresource: "ephemeralcontainers", namespace: "shop", name: "web-0"}, body},
		"patch through a node":   {request{user: "alice", verb: "patch", resource: "nodes", subresource: "proxy", name: "n1"}, metadata},
		"token of a pod":         {request{user: "system:node:n1", groups: "system:nodes", verb: "create", resource: "serviceaccounts", subresource: "token", namespace: "shop", name: "cart"}, body},
		"pod reads":              {request{user: pod, groups: "system:serviceaccounts", verb: "list", resource: "pods", namespace: "shop"}, metadata},
		"pod discovers":          {request{user: pod, groups: "system:serviceaccounts", verb: "get", path: "/version"}, metadata},
		"pod probes health":      {request{user: pod, groups: "system:serviceaccounts", verb: "get", path: "/healthz"}, metadata},
		"pod reviews its rights": {request{user: pod, verb: "create", group: "authorization.k8s.io", resource: "selfsubjectaccessreviews"}, metadata},
		"pod renews a lease":     {request{user: pod, verb: "update", group: "coordination.k8s.io", resource: "leases", namespace: "kube-node-lease", name: "n1"}, metadata},
		"anonymous snoops":       {request{user: "system:anonymous", groups: "system:unauthenticated", verb: "list", resource: "secrets"}, metadata},
		"anonymous discovers":    {request{user: "system:anonymous", verb: "get", path: "/api"}, metadata},
		"anonymous probe":        {request{user: "system:anonymous", verb: "get", path: "/readyz/ping"}, none},
		"secret by a node":       {request{user: "system:node:n1", groups: "system:nodes", verb: "get", resource: "secrets", namespace: "shop", name: "db"}, metadata},
		"secret by a controller": {request{user: "system:kube-controller-manager", verb: "list", resource: "secrets"}, metadata},
		"node looks around":      {request{user: "system:node:n1", groups: "system:nodes", verb: "list", resource: "pods"}, metadata},
		"node gets a pod":        {request{user: "system:node:n1", groups: "system:nodes", verb: "get", resource: "pods", namespace: "shop", name: "web-0"}, none},
		"node redirects itself":  {request{user: "system:node:n1", groups: "system:nodes", verb: "patch", resource: "nodes", subresource: "status", name: "n1"}, metadata},
		"node heartbeat":         {request{user: "system:node:n1", groups: "system:nodes", verb: "update", group: "coordination.k8s.io", resource: "leases", namespace: "kube-node-lease", name: "n1"}, none},
		"node takes a lease":     {request{user: "system:node:n1", groups: "system:nodes", verb: "update", group: "coordination.k8s.io", resource: "leases", namespace: "kube-system", name: "kube-scheduler"}, metadata},
		"scheduler binds":        {request{user: "system:kube-scheduler", verb: "create", resource: "pods", subresource: "binding", namespace: "shop", name: "web-0"}, metadata},
		"controllers as pods":    {request{user: "system:serviceaccount:kube-system:generic-garbage-collector", groups: "system:serviceaccounts:kube-system", verb: "list", resource: "pods"}, metadata},
		"kube-proxy":             {request{user: "system:kube-proxy", verb: "watch", group: "discovery.k8s.io", resource: "endpointslices"}, none},
		"kube-proxy as a pod":    {request{user: "system:serviceaccount:kube-system:kube-proxy", verb: "watch", group: "discovery.k8s.io", resource: "endpointslices"}, metadata},
		"canary":                 {request{user: server, verb: "get", resource: "configmaps", namespace: "guard", name: "portcullis-canary"}, metadata},
		"own way to API servers": {request{user: server, verb: "list", group: "discovery.k8s.io", resource: "endpointslices", namespace: "default"}, none},
		"own way to services":    {request{user: server, verb: "list", group: "discovery.k8s.io", resource: "endpointslices", namespace: "shop"}, none},
		"the old way to those":   {request{user: server, verb: "get", resource: "endpoints", namespace: "shop"}, none},
		"not by a watch":         {request{user: server, verb: "watch", group: "discovery.k8s.io", resource: "endpointslices", namespace: "shop"}, metadata},
		"own mirrors":            {request{user: server, verb: "update", resource: "limitranges", namespace: "guard"}, none},
		"no other's LimitRanges": {request{user: server, verb: "update", resource: "limitranges", namespace: "shop"}, metadata},
		"own event":              {request{user: server, verb: "create", group: "events.k8s.io", resource: "events", namespace: "shop"}, none},
		"not its events":         {request{user: server, verb: "create", resource: "events", namespace: "shop"}, metadata},
		"own quarantine":         {request{user: server, verb: "create", group: "portcullis.dev", resource: "quarantines"}, none},
		"own release":            {request{user: server, verb: "delete", group: "portcullis.dev", resource: "quarantines", name: "q"}, none},
		"own watch":              {request{user: server, verb: "watch", resource: "pods"}, none},
		"own keys":               {request{user: server, verb: "get", resource: "secrets", namespace: "guard", name: "portcullis-sink-ca"}, none},
		"own tokens":             {request{user: server, verb: "get", resource: "secrets", namespace: "guard", name: "portcullis-sink-tokens"}, none},
		"a new token":            {request{user: server, verb: "update", resource: "secrets", namespace: "guard", name: "portcullis-sink-tokens"}, metadata},
		"own status":             {request{user: server, verb: "patch", resource: "configmaps", namespace: "guard", name: "portcullis-status"}, none},
		"own review":             {request{user: server, verb: "create", group: "authentication.k8s.io", resource: "tokenreviews"}, none},
		"own webhook":            {request{user: server, verb: "update", group: "admissionregistration.k8s.io", resource: "validatingwebhookconfigurations", name: "portcullis"}, none},
		"own discovery":          {request{user: server, verb: "get", path: "/apis/portcullis.dev/v1alpha1"}, none},
		"stolen token reads":     {request{user: server, verb: "get", resource: "secrets", namespace: "shop", name: "db"}, metadata},
		"stolen token lists":     {request{user: server, verb: "list", resource: "secrets", namespace: "guard"}, metadata},
		"stolen token deletes":   {request{user: server, verb: "delete", resource: "pods", namespace: "shop", name: "web-0"}, metadata},
		"stolen token unguards":  {request{user: server, verb: "delete", group: "admissionregistration.k8s.io", resource: "validatingwebhookconfigurations", name: "portcullis"}, metadata},
		"agent has no business":  {request{user: "system:serviceaccount:guard:portcullis-agent", verb: "create", resource: "events", namespace: "shop"}, metadata},
		"same name elsewhere":    {request{user: "system:serviceaccount:shop:portcullis", verb: "create", resource: "events", namespace: "shop"}, metadata},
	} {
		t.Run(name, func(t *testing.T) {
			if got := e.EvaluatePolicyRule(tc.request.attributes()); got.Level != tc.want {
				t.Errorf("%+v is recorded at %s, want %s", tc.request, got.Level, tc.want)
			}
		})
	}
}

// TestPodsAndPeopleAreAlwaysRecorded draws requests at random, among them all
// the resources that the policy mentions, from users of which none is named.
func TestPodsAndPeopleAreAlwaysRecorded(t *testing.T) {
	e := evaluator(t)
	r := rand.New(rand.NewPCG(1, 2))
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	for range 50_000 {
		req := request{
			user:        pick("alice", "", pod, "system:serviceaccount:kube-system:kube-proxy", "system:serviceaccount:guard:portcullis-agent", "system:kube-controller-manager2"),
			groups:      pick("", "system:masters system:authenticated", "system:serviceaccounts system:serviceaccounts:kube-system", "kubeadm:cluster-admins"),
			verb:        pick("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"),
			group:       pick("", "coordination.k8s.io", "events.k8s.io", "portcullis.dev", "discovery.k8s.io", "authentication.k8s.io"),
			resource:    pick("pods", "nodes", "leases", "events", "secrets", "quarantines", "services", "endpointslices", "tokenreviews"),
			subresource: pick("", "", "exec", "status", "proxy", "token"),
			namespace:   pick("", "shop", "kube-system", "kube-node-lease", "guard"),
			name:        pick("", "x", "portcullis-canary"),
		}
		if r.IntN(4) == 0 {
			req.path = pick("/healthz", "/livez", "/readyz/x", "/api", "/version", "/metrics")
		}
		got := e.EvaluatePolicyRule(req.attributes())
		if got.Level == auditinternal.LevelNone {
			t.Fatalf("nobody would ever see %+v", req)
		}
		if got.Level == auditinternal.LevelRequestResponse {
			t.Fatalf("responses can hold tokens: %+v", req)
		}
	}
}

func TestStages(t *testing.T) {
	got := evaluator(t).EvaluatePolicyRule(request{user: "alice", verb: "get", resource: "pods", subresource: "exec"}.attributes())
	if want := []auditinternal.Stage{auditinternal.StageRequestReceived}; !slices.Equal(got.OmitStages, want) {
		t.Errorf("an exec leaves out %v, want %v: rules need its start and its end", got.OmitStages, want)
	}
}

// TestFailedAuthentication: such requests have no user at all.
func TestFailedAuthentication(t *testing.T) {
	got := evaluator(t).EvaluatePolicyRule(authorizer.AttributesRecord{Verb: "get", ResourceRequest: true, Resource: "pods"})
	if got.Level != auditinternal.LevelMetadata {
		t.Errorf("a request that failed to authenticate is recorded at %s", got.Level)
	}
}

// TestEveryExceptionIsExplained: a rule that leaves something out stands below
// a comment that says what goes unseen.
func TestEveryExceptionIsExplained(t *testing.T) {
	exceptions := 0
	for block := range strings.SplitSeq(policyText, "\n\n") {
		comment, rule, found := strings.Cut(block, "  - level: None")
		if !found {
			continue
		}
		exceptions++
		// The last one speaks of the request, not of a credential's thief.
		if !strings.Contains(comment, "nseen") && !strings.Contains(rule, "system:anonymous") {
			t.Errorf("nothing says what goes unseen by:\n%s", block)
		}
		if strings.Contains(rule, "- level:") {
			t.Errorf("two rules under one comment:\n%s", block)
		}
	}
	if exceptions == 0 {
		t.Error("found no exceptions: mend the test")
	}
}

func TestOptionsAreNames(t *testing.T) {
	for _, bad := range []string{"", "a b", "x\"]\n  - level: None", "UPPER", strings.Repeat("a", 300)} {
		for field, o := range map[string]Options{
			"Namespace":       {Namespace: bad, ServiceAccount: "a", CanaryConfigMap: "c"},
			"ServiceAccount":  {Namespace: "n", ServiceAccount: bad, CanaryConfigMap: "c"},
			"CanaryConfigMap": {Namespace: "n", ServiceAccount: "a", CanaryConfigMap: bad},
		} {
			if text, err := Policy(o); err == nil || text != nil || !strings.Contains(err.Error(), field) {
				t.Errorf("%s %q: error %v, want one that names the field", field, bad, err)
			}
		}
	}
}

func ExamplePolicy() {
	text, err := Policy(Default())
	if err != nil {
		fmt.Println(err)
		return
	}
	line, _, _ := strings.Cut(string(text), "\n")
	fmt.Println(line)
	// Output: # The audit policy for Portcullis. The first rule that matches a request decides.
}
