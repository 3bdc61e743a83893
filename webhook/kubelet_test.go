package webhook_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/emicklei/go-restful/v3"
	"github.com/google/go-cmp/cmp"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"github.com/portcullis-dev/portcullis/webhook"
)

// reached is where a request through nodes/proxy ends up.
type reached struct {
	Door, Namespace, Pod, Container string
}

// newKubelet has the routes of a kubelet's server (pkg/kubelet/server/server.go in Kubernetes), in the router
// that kubelets use. It tells where a request ended up, if that was a door.
func newKubelet(tell func(reached)) http.Handler {
	container := restful.NewContainer()
	for _, route := range []struct{ root, path, door string }{
		{"/run", "/{podNamespace}/{podID}/{containerName}", "exec"},
		{"/run", "/{podNamespace}/{podID}/{uid}/{containerName}", "exec"},
		{"/exec", "/{podNamespace}/{podID}/{containerName}", "exec"},
		{"/exec", "/{podNamespace}/{podID}/{uid}/{containerName}", "exec"},
		{"/attach", "/{podNamespace}/{podID}/{containerName}", "attach"},
		{"/attach", "/{podNamespace}/{podID}/{uid}/{containerName}", "attach"},
		{"/portForward", "/{podNamespace}/{podID}", "portforward"},
		{"/portForward", "/{podNamespace}/{podID}/{uid}", "portforward"},
		{"/containerLogs", "/{podNamespace}/{podID}/{containerName}", "proxy"},
		{"/checkpoint", "/{podNamespace}/{podID}/{containerName}", "proxy"},
		{"/pods", "", ""},
		{"/logs", "/{logpath:*}", ""},
	} {
		to := func(r *restful.Request, w *restful.Response) {
			if route.door != "" {
				tell(reached{route.door, r.PathParameter("podNamespace"), r.PathParameter("podID"), r.PathParameter("containerName")})
			}
			w.WriteHeader(http.StatusNoContent)
		}
		var ws *restful.WebService
		for _, known := range container.RegisteredWebServices() {
			if known.RootPath() == route.root {
				ws = known
			}
		}
		if ws == nil {
			ws = new(restful.WebService).Path(route.root)
			container.Add(ws)
		}
		ws.Route(ws.GET(route.path).To(to).Operation("get"))
		ws.Route(ws.POST(route.path).To(to).Operation("post"))
	}
	container.Handle("/metrics", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	return container
}

// proxyPath is the path of a review for a request to .../proxy and then rest, as API servers read it.
func proxyPath(rest string) (string, bool) {
	u, err := url.ParseRequestURI("/api/v1/nodes/n/proxy" + rest)
	if err != nil {
		return "", false
	}
	return strings.TrimPrefix(u.Path, "/api/v1/nodes/n/proxy"), true
}

// askKubelet has a kubelet asked for a path as an API server asks it.
func askKubelet(path string) (at *reached) {
	kubelet := newKubelet(func(r reached) { at = &r })
	for _, method := range []string{http.MethodPost, http.MethodGet} {
		location := url.URL{Path: utilnet.JoinPreservingTrailingSlash("", path)}
		target, err := url.ParseRequestURI(location.RequestURI())
		if err != nil {
			continue
		}
		r := httptest.NewRequest(method, "/", nil)
		r.URL = target
		kubelet.ServeHTTP(httptest.NewRecorder(), r)
	}
	return at
}

// judgeNodeProxy is what the webhook makes of a path.
func judgeNodeProxy(t testing.TB, path string) webhook.Request {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal(sample(t, "node-proxy"), &doc); err != nil {
		t.Fatal(err)
	}
	doc["request"].(map[string]any)["object"].(map[string]any)["path"] = path
	body, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return judged(t, body)
}

func TestKubeletPaths(t *testing.T) {
	for _, tt := range []struct {
		rest string
		want reached
		// wider: no kubelet does that, and it is taken for it all the same.
		wider bool
	}{
		{"/exec/shop/web-0/main", reached{"exec", "shop", "web-0", "main"}, false},
		{"/exec/shop/web-0/0f1e/main", reached{"exec", "shop", "web-0", "main"}, false},
		{"/exec/shop/web-0/main/", reached{"exec", "shop", "web-0", "main"}, false},
		{"//exec//shop/web-0//main//", reached{"exec", "shop", "web-0", "main"}, false},
		{"/metrics/../exec/shop/web-0/main", reached{"exec", "shop", "web-0", "main"}, false},
		{"/../../exec/shop/./web-0/main", reached{"exec", "shop", "web-0", "main"}, false},
		{"/%65xec/shop/web-0/main", reached{"exec", "shop", "web-0", "main"}, false},
		{"/exec%2Fshop%2Fweb-0%2Fmain", reached{"exec", "shop", "web-0", "main"}, false},
		{"/logs/%2e%2e/exec/shop/web-0/main", reached{"exec", "shop", "web-0", "main"}, false},
		{"/exec/shop/web-0/main?command=id", reached{"exec", "shop", "web-0", "main"}, false},
		{"/run/shop/web-0/main", reached{"exec", "shop", "web-0", "main"}, false},
		{"/run/shop/web-0/0f1e/main", reached{"exec", "shop", "web-0", "main"}, false},
		{"/attach/shop/web-0/main", reached{"attach", "shop", "web-0", "main"}, false},
		{"/portForward/shop/web-0", reached{"portforward", "shop", "web-0", ""}, false},
		{"/portForward/shop/web-0/0f1e", reached{"portforward", "shop", "web-0", ""}, false},
		{"/containerLogs/shop/web-0/main", reached{"proxy", "shop", "web-0", "main"}, false},
		{"/checkpoint/shop/web-0/main", reached{"proxy", "shop", "web-0", "main"}, false},
		{"/cri/exec/Tok_en-1", reached{"exec", "", "", ""}, true},
		{"/cri/attach/token", reached{"attach", "", "", ""}, true},
		{"/cri/portforward/token", reached{"portforward", "", "", ""}, true},
		{"/cri/other/token", reached{"exec", "", "", ""}, true},
		{"/cri", reached{"exec", "", "", ""}, true},
		{"/EXEC/shop/web-0/main", reached{"exec", "", "", ""}, true},
		{"/portforward/shop/web-0", reached{"portforward", "", "", ""}, true},
		{"/exec", reached{"exec", "", "", ""}, true},
		{"/exec/shop/web-0", reached{"exec", "", "", ""}, true},
		{"/exec/shop/web-0/uid/main/more", reached{"exec", "", "", ""}, true},
		{"/%2565xec/shop/web-0/main", reached{"exec", "shop", "web-0", "main"}, true},
		{"/logs/%252e%252e/run/shop/web-0/main", reached{"exec", "shop", "web-0", "main"}, true},
		{"/logs/%25252525252e", reached{"exec", "", "", ""}, true},
		{"/logs/50%25", reached{"exec", "", "", ""}, true},
		{`/logs\exec`, reached{"exec", "", "", ""}, true},
		{"/%0aexec", reached{"exec", "", "", ""}, true},
		{"/%ff", reached{"exec", "", "", ""}, true},
		{"", reached{"proxy", "", "", ""}, false},
		{"/", reached{"proxy", "", "", ""}, false},
		{"/metrics", reached{"proxy", "", "", ""}, false},
		{"/metrics/cadvisor", reached{"proxy", "", "", ""}, false},
		{"/exec/../metrics", reached{"proxy", "", "", ""}, false},
		{"/pods/", reached{"proxy", "", "", ""}, false},
		{"/logs/exec/shop/web-0/main", reached{"proxy", "", "", ""}, false},
		{"/executable", reached{"proxy", "", "", ""}, false},
	} {
		path, ok := proxyPath(tt.rest)
		if !ok {
			t.Fatalf("%q is no request", tt.rest)
		}
		r := judgeNodeProxy(t, path)
		if diff := cmp.Diff(tt.want, reached{r.Door, r.Namespace, r.Pod, r.Container}); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.rest, diff)
		}
		if r.PodUID != "" || r.Node != "node1" || r.Path != strings.ToValidUTF8(path, "\ufffd") {
			t.Errorf("%q: %+v", tt.rest, r)
		}
		at := askKubelet(path)
		if at != nil && *at != tt.want || at == nil && !tt.wider && tt.want.Door != "proxy" {
			t.Errorf("%q: the kubelet itself makes of it %+v", tt.rest, at)
		}
	}
}

// FuzzKubeletPath: whatever a kubelet takes for a way into a pod, the webhook does too.
func FuzzKubeletPath(f *testing.F) {
	for _, path := range []string{
		"/exec/shop/web-0/main", "//run/a/b/c/d/", "/logs/../attach/a/b/c", "portForward/a/b", "/%65xec/a/b/c", "/cri/exec/t",
		"/metrics", "/exec/a/b/\x00", "/exec/./a/b/c?x", "/run/a:b/c;d/e", "/exec/a/%/c",
	} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		path = strings.ToValidUTF8(path, "\ufffd") // as it is in JSON
		at, r := askKubelet(path), judgeNodeProxy(t, path)
		if at == nil {
			return
		}
		if r.Door != at.Door && r.Door != webhook.DoorExec {
			t.Fatalf("%q leads the kubelet to %+v, and is judged as %s", path, at, r.Door)
		}
		if got := (reached{r.Door, r.Namespace, r.Pod, r.Container}); r.Pod != "" && got != *at {
			t.Fatalf("%q leads the kubelet to %+v, and is judged as %+v", path, at, got)
		}
	})
}
