package policy_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
)

const debug = `{"spec":{"ephemeralContainers":[{"name":"d","image":"shell:1","targetContainerName":"main"}]}}`

// doors are all ways into a pod.
func doors(namespace, pod string) map[string]request {
	at := "/api/v1/namespaces/" + namespace + "/pods/" + pod
	return map[string]request{
		"exec":                         get(at + "/exec?command=id&container=main"),
		"exec by POST":                 post(at + "/exec?command=id&container=main"),
		"attach":                       get(at + "/attach?stdout=true"),
		"attach by POST":               post(at + "/attach?stdout=true"),
		"portforward":                  get(at + "/portforward?ports=80"),
		"portforward by POST":          post(at + "/portforward"),
		"ephemeralcontainers by PATCH": {http.MethodPatch, at + "/ephemeralcontainers", debug},
		"proxy":                        get(at + "/proxy"),
		"proxy by POST":                post(at + "/proxy/x"),
		"proxy by PUT":                 {method: http.MethodPut, path: at + "/proxy/x"},
		"proxy by DELETE":              {method: http.MethodDelete, path: at + "/proxy/x/y"},
		"proxy by OPTIONS":             {method: http.MethodOptions, path: at + "/proxy/x"},
		"proxy to a port":              get(at + ":80/proxy/"),
		"proxy to a scheme and port":   get("/api/v1/namespaces/" + namespace + "/pods/https:" + pod + ":443/proxy/"),
		"proxy to a scheme":            get("/api/v1/namespaces/" + namespace + "/pods/http:" + pod + ":/proxy/"),
		"proxy to an empty scheme":     get("/api/v1/namespaces/" + namespace + "/pods/:" + pod + ":80/proxy/"),
		"proxy with an escaped colon":  get("/api/v1/namespaces/" + namespace + "/pods/https%3A" + pod + "%3A443/proxy/"),
		"proxy to an endless port":     get(at + ":" + strings.Repeat("0", 10000) + "80/proxy/"),
	}
}

// several quarantines deny the request, of which any may be told.
const several = "several"

// TestPolicy tries every door and every kind of subject on one API server.
func TestPolicy(t *testing.T) { eachPolicy(t, testPolicy) }

func testPolicy(t *testing.T, name string) {
	c := startCluster(t, `
gate:
  breakGlassGroups: ["system:masters", "break \"glass\" <é>"]
  exempt: {users: [robot], groups: [robots], namespaces: [sandbox]}
`, name)
	c.namespaces(t, "shop", "bank", "sandbox", "closed", "narrow")
	web0 := c.pod(t, "shop", "web-0")
	web1 := c.pod(t, "shop", "web-1")
	for _, at := range [][2]string{{"bank", "web-0"}, {"sandbox", "web-0"}, {"closed", "web-0"}, {"shop", "successor"}} {
		c.pod(t, at[0], at[1])
	}
	onNode := func(name string) func(*v1alpha1.Quarantine) {
		return func(q *v1alpha1.Quarantine) { q.Spec.Subject.NodeName = name }
	}
	pod := func(p *corev1.Pod) v1alpha1.Subject {
		return v1alpha1.Subject{Kind: v1alpha1.SubjectPod, UID: string(p.UID), Namespace: p.Namespace, Name: p.Name}
	}
	c.quarantine(t, "q-pod", pod(web0), onNode("node-1"))
	c.quarantine(t, "q-gone", v1alpha1.Subject{Kind: v1alpha1.SubjectPod, UID: "gone", Namespace: "shop", Name: "successor"},
		func(q *v1alpha1.Quarantine) { q.Status.NodeName = "node-2" })
	c.quarantine(t, "q-sandbox", v1alpha1.Subject{Kind: v1alpha1.SubjectPod, UID: "s", Namespace: "sandbox", Name: "web-0"})
	c.quarantine(t, "q-user", v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: "mallory"})
	c.quarantine(t, "q-robot", v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: "robot"})
	c.quarantine(t, "q-group", v1alpha1.Subject{Kind: v1alpha1.SubjectGroup, Name: "crooks"})
	c.quarantine(t, "q-account", v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Namespace: "bank", Name: "web"})
	c.quarantine(t, "q-namespace", v1alpha1.Subject{Kind: v1alpha1.SubjectNamespace, Name: "closed"})
	c.quarantine(t, "q-node", v1alpha1.Subject{Kind: v1alpha1.SubjectNode, Name: "node-3"})
	c.quarantine(t, "q-credential", v1alpha1.Subject{Kind: v1alpha1.SubjectCredential, Name: "JTI=stolen"})
	c.settle(t, "settled")

	alice, mallory := c.as(t, "alice"), c.as(t, "mallory")
	expect := func(t *testing.T, who *caller, r request, want string) {
		t.Helper()
		got := who.do(t.Context(), t, r)
		if got.by == want || want == several && got.by != "" {
			return
		}
		t.Errorf("%s: refused by %q, want %q: %d %.300s", r, got.by, want, got.code, got.message)
	}

	t.Run("every door into a pod", func(t *testing.T) {
		for name, r := range doors("shop", "web-0") {
			want := "q-pod"
			if name == "proxy to an endless port" {
				want = several // a name of that length may be any
			}
			t.Run(name, func(t *testing.T) { expect(t, alice, r, want) })
		}
	})
	t.Run("everybody else gets in", func(t *testing.T) {
		for name, r := range doors("bank", "web-0") {
			t.Run(name, func(t *testing.T) { expect(t, alice, r, "") })
		}
		for name, r := range doors("shop", "web-1") {
			want := ""
			if name == "proxy to an endless port" {
				want = several
			}
			t.Run("beside it, "+name, func(t *testing.T) { expect(t, alice, r, want) })
		}
	})
	t.Run("a successor", func(t *testing.T) {
		all := doors("shop", "successor")
		expect(t, alice, all["exec"], "q-gone")
		expect(t, alice, all["ephemeralcontainers by PATCH"], "")
	})
	t.Run("a user, at every door", func(t *testing.T) {
		for _, r := range doors("bank", "web-0") {
			expect(t, mallory, r, "q-user")
		}
		expect(t, mallory, get("/api/v1/namespaces/bank/services/https:web:443/proxy/x"), "q-user")
		expect(t, mallory, get("/api/v1/nodes/node-9/proxy/metrics"), "q-user")
	})
	t.Run("a group", func(t *testing.T) {
		expect(t, c.as(t, "bob", "crooks"), doors("bank", "web-0")["exec"], "q-group")
		expect(t, c.as(t, "crooks"), doors("bank", "web-0")["exec"], "")
	})
	t.Run("a namespace", func(t *testing.T) {
		for _, r := range doors("closed", "web-0") {
			expect(t, alice, r, "q-namespace")
		}
		expect(t, alice, get("/api/v1/namespaces/closed/services/web/proxy/"), "q-namespace")
		expect(t, alice, get("/api/v1/namespaces/bank/services/web/proxy/"), "")
		expect(t, c.withToken(t, c.token(t, "closed", "web", nil)), doors("bank", "web-0")["exec"], "")
	})
	t.Run("a service account", func(t *testing.T) {
		expect(t, c.withToken(t, c.token(t, "bank", "web", nil)), doors("shop", "web-1")["exec"], "q-account")
		expect(t, c.withToken(t, c.token(t, "shop", "web", nil)), doors("shop", "web-1")["exec"], "")
	})
	t.Run("the token of a pod", func(t *testing.T) {
		theirs := c.withToken(t, c.token(t, "shop", "web", web0))
		expect(t, theirs, doors("bank", "web-0")["exec"], "q-pod")
		expect(t, theirs, get("/api/v1/nodes/node-9/proxy/metrics"), "q-pod")
		expect(t, c.withToken(t, c.token(t, "shop", "web", web1)), doors("bank", "web-0")["exec"], "")
	})
	t.Run("a credential", func(t *testing.T) {
		id := "Impersonate-Extra-Authentication.kubernetes.io%2fcredential-Id"
		head := http.Header{"Impersonate-User": {"bob"}, "Impersonate-Group": {people}, id: {"JTI=other", "JTI=stolen"}}
		expect(t, alice.with(head), doors("bank", "web-0")["exec"], "q-credential")
		head[id] = []string{"JTI=other"}
		expect(t, alice.with(head), doors("bank", "web-0")["exec"], "")
	})
	t.Run("break-glass passes", func(t *testing.T) {
		for _, r := range doors("shop", "web-0") {
			expect(t, c.as(t, "mallory", `break "glass" <é>`), r, "")
		}
		expect(t, newCaller(t, c.server.Config), doors("shop", "web-0")["exec"], "") // system:masters
	})
	t.Run("the exempt pass", func(t *testing.T) {
		expect(t, c.as(t, "robot"), doors("shop", "web-0")["exec"], "")
		expect(t, c.as(t, "mallory", "robots"), doors("shop", "web-0")["exec"], "")
		expect(t, mallory, doors("sandbox", "web-0")["exec"], "")
		expect(t, alice, doors("sandbox", "web-0")["exec"], "")
	})
	t.Run("nodes", func(t *testing.T) { nodes(t, alice, expect) })
	t.Run("hostile", func(t *testing.T) { hostile(t, alice, expect) })
}

// nodes are the ways by a kubelet: node-1 and node-2 run pods in quarantine, node-3 is in quarantine itself.
func nodes(t *testing.T, alice *caller, expect func(*testing.T, *caller, request, string)) {
	for path, execLike := range map[string]bool{
		"/exec/shop/web-9/main?cmd=id": true, "/exec/shop/web-9/some-uid/main": true, "/run/bank/web-0/main?cmd=id": true,
		"/attach/bank/web-0/main": true, "/portForward/bank/web-0": true, "/cri/exec/token": true, "/cri/portforward/token": true,
		"/cri/new": true, "/exec": true, "/exec/": true, "//exec//shop/web-0/main": true, "///run/x": true, "/%65xec/shop/web-0/main": true,
		"/exec%2Fshop%2Fweb-0%2Fmain": true, "%2Fexec/shop/web-0/main": true, "/logs/../exec/shop/web-0/main": true, "/./exec/x": true,
		"/%2e%2e/exec/x": true, "/metrics/..": true, "/.": true, "/" + strings.Repeat("a", 1025): true, "/" + strings.Repeat("/", 2000) + "exec/x": true,
		"": false, "/": false, "/metrics": false, "/logs/exec": false, "/containerLogs/shop/exec/main": false, "/executive": false,
		"/EXEC/shop/web-0/main": false, "/portforward/shop/web-0": false, "/%252e%252e/exec": false, "/..a/exec": false,
		"/stats/summary?exec=/exec/": false, "/pods": false,
	} {
		t.Run(path, func(t *testing.T) {
			of := func(node string) string { return "/api/v1/nodes/" + node + "/proxy" + path }
			want := map[bool]string{true: "q-pod"}[execLike]
			for _, node := range []string{"node-1", "node-1:10250", "https:node-1:10250", "http:node-1:", "https%3Anode-1%3A10250"} {
				expect(t, alice, get(of(node)), want)
			}
			expect(t, alice, post(of("node-1")), want)
			expect(t, alice, get(of("node-2")), map[bool]string{true: "q-gone"}[execLike])
			expect(t, alice, get(of("https:node-3:10250")), "q-node")
			expect(t, alice, get(of("node-9")), "")
		})
	}
}

// hostile is what only somebody sends who looks for the end of the expressions' budget: one that
// costs too much is ignored.
func hostile(t *testing.T, alice *caller, expect func(*testing.T, *caller, request, string)) {
	long := strings.Repeat("a/", 200_000)
	into, elsewhere := doors("shop", "web-0")["exec"], doors("bank", "web-0")["exec"]
	t.Run("paths", func(t *testing.T) {
		for _, path := range []string{strings.Repeat("a", 10_000), long, "exec/" + long, strings.Repeat("../", 100_000) + "exec/x", strings.Repeat("/", 400_000) + "x"} {
			expect(t, alice, get("/api/v1/nodes/node-1/proxy/"+path), "q-pod")
			expect(t, alice, get("/api/v1/nodes/node-9/proxy/"+path), "")
		}
		expect(t, alice, get("/api/v1/namespaces/shop/pods/web-0/proxy/"+long), "q-pod")
	})
	t.Run("names", func(t *testing.T) {
		for _, name := range []string{strings.Repeat("a", 400_000), "node-1:" + strings.Repeat("0", 400_000) + "10250", strings.Repeat(":", 400_000)} {
			expect(t, alice, get("/api/v1/nodes/"+name+"/proxy/exec/x"), several)
			expect(t, alice, get("/api/v1/namespaces/shop/pods/"+name+"/exec"), several)
			expect(t, alice, get("/api/v1/namespaces/bank/pods/"+name+"/exec"), "")
		}
	})
	t.Run("command", func(t *testing.T) {
		expect(t, alice, get(into.path+"&command="+long), "q-pod")
		expect(t, alice, get(elsewhere.path+strings.Repeat("&command=a", 20_000)), "")
	})
	many := func(n int, last ...string) []string {
		groups := []string{people}
		for len(groups) < n {
			groups = append(groups, "g")
		}
		return append(groups, last...)
	}
	for name, n := range map[string]int{"1,000 groups": 1000, "as many groups as fit": 15_000} {
		t.Run(name, func(t *testing.T) {
			as := func(user string, groups ...string) *caller {
				return alice.with(http.Header{"Impersonate-User": {user}, "Impersonate-Group": many(n, groups...)})
			}
			expect(t, as("bob"), into, "q-pod")
			expect(t, as("bob"), elsewhere, "")
			expect(t, as("mallory"), elsewhere, "q-user")
			expect(t, as("bob", "crooks"), elsewhere, "q-group")
			expect(t, as("bob", `break "glass" <é>`), into, "")
			expect(t, as("bob", "robots"), into, "")
		})
	}
	t.Run("a user's name", func(t *testing.T) {
		as := func(user string) *caller {
			return alice.with(http.Header{"Impersonate-User": {user}, "Impersonate-Group": {people}})
		}
		expect(t, as(strings.Repeat("m", 500_000)), into, "q-pod")
		expect(t, as(strings.Repeat("m", 500_000)), elsewhere, "")
	})
	t.Run("extra", func(t *testing.T) {
		head := http.Header{"Impersonate-User": {"bob"}, "Impersonate-Group": {people}}
		for _, key := range []string{"pod-Uid", "credential-Id"} {
			name := "Impersonate-Extra-Authentication.kubernetes.io%2f" + key
			for range 5000 {
				head[name] = append(head[name], "x")
			}
		}
		expect(t, alice.with(head), into, "q-pod")
		expect(t, alice.with(head), elsewhere, "")
		head["Impersonate-Extra-Authentication.kubernetes.io%2fcredential-Id"][4999] = "JTI=stolen"
		expect(t, alice.with(head), elsewhere, "q-credential")
	})
}

// token is one of the service account, bound to the pod if there is one.
func (c *cluster) token(t *testing.T, namespace, account string, to *corev1.Pod) string {
	t.Helper()
	r := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](3600)}}
	if to != nil {
		r.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: to.Name, UID: to.UID}
	}
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: account}}
	if err := c.objects.SubResource("token").Create(t.Context(), sa, r); err != nil {
		t.Fatalf("token of %s/%s: %v", namespace, account, err)
	}
	return r.Status.Token
}

// TestOperations: what is denied, by whatever door it comes.
func TestOperations(t *testing.T) { eachPolicy(t, testOperations) }

func testOperations(t *testing.T, name string) {
	c := startCluster(t, "", name)
	c.namespaces(t, "shop")
	c.pod(t, "shop", "web-0")
	at := "/api/v1/namespaces/shop/pods/web-0/"
	node := "/api/v1/nodes/node-1/proxy/"
	ways := map[v1alpha1.Operation][]request{
		v1alpha1.OperationExec:                {get(at + "exec"), post(at + "exec"), get(node + "exec/a/b/c"), post(node + "run/a/b/c"), get(node + "cri/exec/t"), get(node + "cri//exec/t")},
		v1alpha1.OperationAttach:              {get(at + "attach"), get(node + "attach/a/b/c"), get(node + "cri/attach/t")},
		v1alpha1.OperationPortForward:         {get(at + "portforward"), post(node + "portForward/a/b"), get(node + "cri/portforward/t")},
		v1alpha1.OperationEphemeralContainers: {{http.MethodPatch, at + "ephemeralcontainers", debug}},
		v1alpha1.OperationProxy:               {get(at + "proxy/"), get("/api/v1/namespaces/shop/services/x/proxy/"), get(node), get(node + "metrics"), get(node + "portforward/a")},
	}
	unclear := []request{get(node + "logs/../exec/a/b/c"), get(node + "cri/x"), get(node + strings.Repeat("a", 2000))}
	users := map[string][]v1alpha1.Operation{"all": nil, "two": {v1alpha1.OperationExec, v1alpha1.OperationProxy}}
	for op := range ways {
		users["only-"+string(op)] = []v1alpha1.Operation{op}
	}
	for name, ops := range users {
		c.quarantine(t, "q-"+name, v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: name}, func(q *v1alpha1.Quarantine) { q.Spec.Operations = ops })
	}
	c.settle(t, "settled")
	for user, ops := range users {
		who := c.as(t, user)
		denies := func(op v1alpha1.Operation) string {
			if len(ops) == 0 || slices.Contains(ops, op) {
				return "q-" + user
			}
			return ""
		}
		for op, requests := range ways {
			for _, r := range requests {
				if got := who.do(t.Context(), t, r); got.by != denies(op) {
					t.Errorf("%v: %s: refused by %q, want %q: %s", ops, r, got.by, denies(op), got.message)
				}
			}
		}
		for _, r := range unclear {
			if got := who.do(t.Context(), t, r); got.by != "q-"+user {
				t.Errorf("%v: %s passes", ops, r)
			}
		}
	}
}

// TestWhatPeopleRead: the message, whatever the Quarantine says.
func TestWhatPeopleRead(t *testing.T) { eachPolicy(t, testWhatPeopleRead) }

func testWhatPeopleRead(t *testing.T, policyName string) {
	c := startCluster(t, "", policyName)
	c.namespaces(t, "a", "b", "c", "d", "e")
	prefix := fmt.Sprintf(`pods "web-0" is forbidden: ValidatingAdmissionPolicy '%[1]s' with binding '%[1]s' denied request: portcullis: `, policyName)
	past := metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	for name, test := range map[string]struct {
		namespace string
		subject   v1alpha1.Subject
		change    func(*v1alpha1.QuarantineSpec)
		want      string
	}{
		"by-hand": {
			"a", v1alpha1.Subject{Kind: v1alpha1.SubjectPod, UID: "u-1", Namespace: "a", Name: "web-0"}, func(*v1alpha1.QuarantineSpec) {},
			"pod a/web-0 (UID u-1, judged by name) is quarantined until it is released: a shell",
		},
		"expired": {
			"b", v1alpha1.Subject{Kind: v1alpha1.SubjectPod, UID: "u-2", Namespace: "b", Name: "web-0"},
			func(s *v1alpha1.QuarantineSpec) {
				s.ExpiresAt = &past
				s.Detection = &v1alpha1.DetectionRef{ID: "d-1", Rule: "token-access"}
			},
			"pod b/web-0 (UID u-2, judged by name) is quarantined until 2026-01-02T03:04:05Z, or until Portcullis is back if it is down then: a shell, rule token-access, detection d-1",
		},
		"several-lines": {
			"c", v1alpha1.Subject{Kind: v1alpha1.SubjectNamespace, Name: "c"},
			func(s *v1alpha1.QuarantineSpec) { s.Reason = "one\n\ttwo\r\x1b[31m\u202eé 你" },
			`namespace "c" is quarantined until it is released: one two [31m é 你`,
		},
		"long": {
			"d", v1alpha1.Subject{Kind: v1alpha1.SubjectNamespace, Name: "d"},
			func(s *v1alpha1.QuarantineSpec) {
				s.Reason = strings.Repeat("你", 1024)
				s.Detection = &v1alpha1.DetectionRef{ID: strings.Repeat("i", 128), Rule: strings.Repeat("r", 253)}
			},
			`namespace "d" is quarantined until it is released: ` + strings.Repeat("你", 256) + "…, rule " + strings.Repeat("r", 128) + "…, detection " + strings.Repeat("i", 128),
		},
		"separators": {
			"e", v1alpha1.Subject{Kind: v1alpha1.SubjectNamespace, Name: "e"},
			func(s *v1alpha1.QuarantineSpec) { s.Reason = strings.Repeat("a\n", 512) },
			`namespace "e" is quarantined until it is released: ` + strings.TrimSpace(strings.Repeat("a ", 128)) + " …",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.quarantine(t, name, test.subject, func(q *v1alpha1.Quarantine) { test.change(&q.Spec) })
			c.settle(t, "settled-"+name)
			got := c.as(t, "alice").do(t.Context(), t, get("/api/v1/namespaces/"+test.namespace+"/pods/web-0/exec"))
			if want := prefix + test.want + "; to release it: kubectl delete quarantine " + name; got.message != want || got.by != name || got.code != http.StatusForbidden {
				t.Errorf("got  %d %q\nwant 403 %q", got.code, got.message, want)
			}
		})
	}
	t.Run("a name that shows nothing", func(t *testing.T) {
		c.quarantine(t, "empty", v1alpha1.Subject{Kind: v1alpha1.SubjectGroup, Name: "\n"})
		c.settle(t, "settled")
		q := c.as(t, "x", "\n").do(t.Context(), t, get("/api/v1/namespaces/default/pods/web-0/exec"))
		if want := prefix + `group "" is quarantined until it is released: a shell; to release it: kubectl delete quarantine empty`; q.message != want {
			t.Errorf("got %q\nwant %q", q.message, want)
		}
	})
}
