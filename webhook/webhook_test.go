package webhook_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
	admission "k8s.io/api/admission/v1"

	"github.com/portcullis-dev/portcullis/webhook"
)

// TestMain fails when a goroutine outlives the tests.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// klog, which client-go logs through, never stops its flusher.
		goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"))
}

// judge answers by a function.
type judge func(context.Context, webhook.Request) (webhook.Verdict, error)

func (j judge) Judge(ctx context.Context, r webhook.Request) (webhook.Verdict, error) {
	return j(ctx, r)
}

func allow(context.Context, webhook.Request) (webhook.Verdict, error) {
	return webhook.Verdict{Allowed: true}, nil
}

// callers knows a path by a function.
type callers func(path string) bool

func (c callers) KnownAdmissionPath(path string) bool { return c(path) }

func everybody(string) bool { return true }

func newHandler(t testing.TB, j judge, change ...func(*webhook.Options)) (*webhook.Handler, *prometheus.Registry) {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	opts := webhook.Options{Judge: j, Callers: callers(everybody), Logger: slog.New(slog.DiscardHandler), Registerer: reg}
	for _, c := range change {
		c(&opts)
	}
	h, err := webhook.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return h, reg
}

func sample(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func post(h http.Handler, body []byte, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/admit?timeout=5s", bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// answered decodes the answer as an API server does, and checks what every answer must have.
func answered(t testing.TB, w *httptest.ResponseRecorder) *admission.AdmissionResponse {
	t.Helper()
	var rev admission.AdmissionReview
	dec := json.NewDecoder(w.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&rev); err != nil || w.Code != http.StatusOK {
		t.Fatalf("status %d, %v", w.Code, err)
	}
	if rev.APIVersion != "admission.k8s.io/v1" || rev.Kind != "AdmissionReview" || rev.Response == nil || rev.Response.UID == "" {
		t.Fatalf("the answer is no review's: %+v", rev)
	}
	for _, key := range []string{"session", "decision"} {
		if rev.Response.AuditAnnotations[key] == "" {
			t.Errorf("the answer has no audit annotation %s", key)
		}
	}
	return rev.Response
}

// counted is the value of the counter whose labels have the given values.
func counted(t testing.TB, reg *prometheus.Registry, name string, labels ...string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	total := 0.0
	for _, f := range families {
		for _, m := range f.GetMetric() {
			found := 0
			for _, l := range m.GetLabel() {
				for _, want := range labels {
					if l.GetValue() == want {
						found++
					}
				}
			}
			if f.GetName() == name && found == len(labels) {
				total += m.GetCounter().GetValue()
			}
		}
	}
	return total
}

func TestDenial(t *testing.T) {
	h, _ := newHandler(t, func(context.Context, webhook.Request) (webhook.Verdict, error) {
		return webhook.Verdict{Message: "the pod is quarantined\nask somebody"}, nil
	})
	resp := answered(t, post(h, sample(t, "exec")))
	if resp.Allowed || resp.Result.Code != 403 || resp.Result.Reason != "Forbidden" || resp.Result.Message != "the pod is quarantined\nask somebody" {
		t.Errorf("the answer is %+v, %+v", resp, resp.Result)
	}
	if resp.AuditAnnotations["decision"] != "deny" {
		t.Errorf("audit annotations %v", resp.AuditAnnotations)
	}
}

func TestFailures(t *testing.T) {
	judges := map[string]judge{
		"panic": func(context.Context, webhook.Request) (webhook.Verdict, error) { panic("boom") },
		"error": func(context.Context, webhook.Request) (webhook.Verdict, error) {
			return webhook.Verdict{Message: "not to be used"}, errors.New("boom")
		},
		"timeout": func(ctx context.Context, _ webhook.Request) (webhook.Verdict, error) {
			<-ctx.Done()
			return webhook.Verdict{}, ctx.Err()
		},
	}
	for why, j := range judges {
		for _, mode := range []webhook.FailMode{webhook.FailOpen, webhook.FailClosed} {
			t.Run(why+" "+string(mode), func(t *testing.T) {
				h, reg := newHandler(t, j, func(o *webhook.Options) { o.FailMode, o.Timeout = mode, 10*time.Millisecond })
				resp := answered(t, post(h, sample(t, "exec")))
				if resp.Allowed != (mode == webhook.FailOpen) || resp.AuditAnnotations["failure"] != why {
					t.Errorf("allowed %v, annotations %v", resp.Allowed, resp.AuditAnnotations)
				}
				if resp.Allowed && (len(resp.Warnings) != 1 || resp.Result != nil) {
					t.Errorf("let through without a warning: %+v", resp)
				}
				if !resp.Allowed && (resp.Result.Code != 500 || !strings.Contains(resp.Result.Message, "could not judge")) {
					t.Errorf("refused with %+v", resp.Result)
				}
				if counted(t, reg, "portcullis_webhook_failures_total", why) != 1 ||
					counted(t, reg, "portcullis_webhook_verdicts_total", "failed-"+string(mode)) != 1 {
					t.Error("the failure is not counted")
				}
			})
		}
	}
}

func TestTheShorterTimeoutCounts(t *testing.T) {
	for query, want := range map[string]time.Duration{
		"timeout=1s": 900 * time.Millisecond, "timeout=30s": 3 * time.Second, "timeout=x": 3 * time.Second, "timeout=-1s": 3 * time.Second, "": 3 * time.Second,
	} {
		var left time.Duration
		h, _ := newHandler(t, func(ctx context.Context, _ webhook.Request) (webhook.Verdict, error) {
			deadline, _ := ctx.Deadline()
			left = time.Until(deadline)
			return webhook.Verdict{Allowed: true}, nil
		})
		post(h, sample(t, "exec"), func(r *http.Request) { r.URL.RawQuery = query })
		if left > want || left < want/2 {
			t.Errorf("%q leaves %v for the judgement, want about %v", query, left, want)
		}
	}
}

// edit changes one thing in a good review.
func edit(t testing.TB, path string, value any) []byte {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal(sample(t, "exec"), &doc); err != nil {
		t.Fatal(err)
	}
	at, keys := doc, strings.Split(path, ".")
	for _, key := range keys[:len(keys)-1] {
		at = at[key].(map[string]any)
	}
	at[keys[len(keys)-1]] = value
	out, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestNonsenseIsAFailedCallAndNeverADenial(t *testing.T) {
	good := sample(t, "exec")
	for _, tt := range []struct {
		name   string
		body   []byte
		change func(*http.Request)
		status int
		reason string
		says   string
	}{
		{"another method", good, func(r *http.Request) { r.Method = "PUT" }, 405, "method", "POST"},
		{"another content type", good, func(r *http.Request) { r.Header.Set("Content-Type", "application/yaml") }, 415, "content-type", "application/yaml"},
		{"no content type", good, func(r *http.Request) { r.Header.Del("Content-Type") }, 415, "content-type", "application/json"},
		{"a charset is fine", []byte(""), func(r *http.Request) { r.Header.Set("Content-Type", "application/json; charset=utf-8") }, 400, "json", "decode"},
		{"no body", nil, nil, 400, "json", "decode the review"},
		{"no JSON", []byte("{"), nil, 400, "json", "decode the review"},
		{"something after the review", append(bytes.Clone(good), "{}"...), nil, 400, "json", "decode the review"},
		{"an array", []byte("[]"), nil, 400, "json", "decode the review"},
		{"null", []byte("null"), nil, 400, "version", "admission.k8s.io/v1"},
		{"an older version", edit(t, "apiVersion", "admission.k8s.io/v1beta1"), nil, 400, "version", "v1beta1"},
		{"another kind", edit(t, "kind", "TokenReview"), nil, 400, "version", "TokenReview"},
		{"no request", edit(t, "request", nil), nil, 400, "request", "no request"},
		{"no uid", edit(t, "request.uid", ""), nil, 400, "request", "uid"},
		{"a long uid", edit(t, "request.uid", strings.Repeat("x", 1000)), nil, 400, "request", "1000 bytes"},
		{"pods themselves", edit(t, "request.subResource", ""), nil, 400, "resource", "pods/exec"},
		{"another resource", edit(t, "request.resource.resource", "nodes"), nil, 400, "resource", "nodes"},
		{"a subresource of nothing of ours", edit(t, "request.subResource", "log"), nil, 400, "resource", "log"},
		{"another group", edit(t, "request.resource.group", "apps"), nil, 400, "resource", "apps"},
		{"another operation", edit(t, "request.operation", "UPDATE"), nil, 400, "operation", "UPDATE"},
		{"no pod", edit(t, "request.name", ""), nil, 400, "request", "names no pod"},
		{"no namespace", edit(t, "request.namespace", ""), nil, 400, "request", "no pod"},
		{"no object", edit(t, "request.object", nil), nil, 400, "object", "PodExecOptions"},
		{"another object", edit(t, "request.object.kind", "PodAttachOptions"), nil, 400, "object", "PodAttachOptions"},
		{"a command that is none", edit(t, "request.object.command", "sh"), nil, 400, "json", "command"},
		{"an escape sequence", edit(t, "kind", "\x1b[2J"+strings.Repeat("x", 9000)), nil, 400, "version", `\x1b[2J`},
		{"more than any API server sends", append(bytes.Clone(good), bytes.Repeat([]byte(" "), 48<<20)...), nil, 413, "size", "50331648"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, reg := newHandler(t, func(context.Context, webhook.Request) (webhook.Verdict, error) {
				t.Error("nonsense was judged")
				return webhook.Verdict{}, nil
			})
			var change []func(*http.Request)
			if tt.change != nil {
				change = append(change, tt.change)
			}
			w := post(h, tt.body, change...)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.says) || w.Body.Len() > 512 {
				t.Errorf("status %d, want %d; %q, want %q in it", w.Code, tt.status, w.Body.String(), tt.says)
			}
			if strings.Contains(w.Body.String(), "\x1b") {
				t.Errorf("the answer repeats control characters: %q", w.Body.String())
			}
			if counted(t, reg, "portcullis_webhook_rejected_calls_total", tt.reason) != 1 {
				t.Errorf("not counted as %s", tt.reason)
			}
		})
	}
}

// The largest command that fits an API server's limits on a URL must be judged: one
// that the webhook found too large would be allowed.
func TestTheLargestCommandIsJudged(t *testing.T) {
	const urlLimit = 1 << 20
	var got int
	h, _ := newHandler(t, func(_ context.Context, r webhook.Request) (webhook.Verdict, error) {
		got = len(r.Command[0])
		return webhook.Verdict{Message: "no"}, nil
	})
	// '<' is one character of a URL and six of JSON.
	resp := answered(t, post(h, edit(t, "request.object.command", []string{strings.Repeat("<", urlLimit)})))
	if resp.Allowed || got != urlLimit {
		t.Errorf("allowed %v, %d bytes of the command were judged", resp.Allowed, got)
	}
}

// Large reviews cost memory only up to the largest one that there can be.
func TestManyLargeReviewsAtATime(t *testing.T) {
	const bound = 48 << 20
	h, _ := newHandler(t, allow)
	body := append(sample(t, "exec"), bytes.Repeat([]byte(" "), 10<<20)...)
	var inFlight, most atomic.Int64
	done := make(chan int, 12)
	for range cap(done) {
		go func() {
			r := httptest.NewRequest(http.MethodPost, "/", &watched{r: bytes.NewReader(body), size: int64(len(body)), inFlight: &inFlight, most: &most})
			r.ContentLength = int64(len(body))
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			done <- w.Code
		}()
	}
	for range cap(done) {
		if code := <-done; code != http.StatusOK {
			t.Errorf("status %d", code)
		}
	}
	if most.Load() > bound {
		t.Errorf("%d bytes of large reviews were read at a time", most.Load())
	}
}

// watched notes of how many bytes the bodies are that are being read at a time.
type watched struct {
	r              io.Reader
	size           int64
	begun          bool
	inFlight, most *atomic.Int64
}

func (w *watched) Read(p []byte) (int, error) {
	if !w.begun {
		w.begun = true
		n := w.inFlight.Add(w.size)
		for {
			old := w.most.Load()
			if n <= old || w.most.CompareAndSwap(old, n) {
				break
			}
		}
	}
	n, err := w.r.Read(p)
	if err != nil {
		w.inFlight.Add(-w.size)
	}
	return n, err
}

// A stranger is turned away before anything of his call is read.
func TestStrangersAreTurnedAway(t *testing.T) {
	var asked atomic.Int32
	h, reg := newHandler(t, func(context.Context, webhook.Request) (webhook.Verdict, error) {
		asked.Add(1)
		return webhook.Verdict{Message: "no"}, nil
	}, func(o *webhook.Options) {
		o.Callers = callers(func(path string) bool { return path == "/admit/secret" })
	})
	for _, path := range []string{"/", "/admit", "/admit/", "/admit/secret/", "/admit/Secret", "/admit//secret", "/admit/secre"} {
		body := &untouched{}
		r := httptest.NewRequest(http.MethodPost, "/", body)
		r.URL.Path, r.ContentLength = path, 1<<20
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusUnauthorized || body.touched || asked.Load() != 0 || strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%s: status %d, body read: %v, judged %d times, %q", path, w.Code, body.touched, asked.Load(), w.Body.String())
		}
	}
	if n := counted(t, reg, "portcullis_webhook_rejected_calls_total", "path"); n != 7 {
		t.Errorf("%v calls of strangers are counted, want 7", n)
	}
	answered(t, post(h, sample(t, "exec"), func(r *http.Request) { r.URL.Path = "/admit/secret" }))
	if asked.Load() != 1 {
		t.Error("who knows the path is not let in")
	}
}

// untouched is a body that notes whether it was read.
type untouched struct{ touched bool }

func (u *untouched) Read([]byte) (int, error) {
	u.touched = true
	return 0, io.EOF
}

func TestAVerdictsSessionAndWarnings(t *testing.T) {
	for _, allowed := range []bool{true, false} {
		h, _ := newHandler(t, func(context.Context, webhook.Request) (webhook.Verdict, error) {
			return webhook.Verdict{Allowed: allowed, Message: "no", Session: "s-0123456789abcdef", Warnings: []string{"mind the gap"}}, nil
		})
		resp := answered(t, post(h, sample(t, "exec")))
		if resp.AuditAnnotations["session"] != "s-0123456789abcdef" || !slices.Equal(resp.Warnings, []string{"mind the gap"}) {
			t.Errorf("allowed %v: annotations %v, warnings %q", allowed, resp.AuditAnnotations, resp.Warnings)
		}
	}
}

func TestSessionID(t *testing.T) {
	for uid, want := range map[string]string{
		"3fc9f14c-762c-4978-b266-5671dc01ea5b": "s-3fc9f14c762c4978",
		"3fc9f14c-762c-4978-aaaa-000000000000": "s-3fc9f14c762c4978",
		"":                                     "s-e3b0c44298fc1c14", // SHA-256 of nothing
	} {
		if got := webhook.SessionID(uid); got != want {
			t.Errorf("%q makes %q, want %q", uid, got, want)
		}
	}
	for _, uid := range []string{"\x1b[2J", "x", "3FC9F14C-762C-4978-B266-5671DC01EA5B", strings.Repeat("-", 99)} {
		if got := webhook.SessionID(uid); len(got) != 18 || strings.Trim(got[2:], "0123456789abcdef") != "" {
			t.Errorf("%q makes %q", uid, got)
		}
	}
}

func TestOptionsNameWhatIsMissing(t *testing.T) {
	good := webhook.Options{Judge: judge(allow), Callers: callers(everybody), Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()}
	for name, change := range map[string]func(*webhook.Options){
		"Judge":      func(o *webhook.Options) { o.Judge = nil },
		"Callers":    func(o *webhook.Options) { o.Callers = nil },
		"Logger":     func(o *webhook.Options) { o.Logger = nil },
		"Registerer": func(o *webhook.Options) { o.Registerer = nil },
		"FailMode":   func(o *webhook.Options) { o.FailMode = "ajar" },
		"Timeout":    func(o *webhook.Options) { o.Timeout = -1 },
	} {
		opts := good
		change(&opts)
		if _, err := webhook.New(opts); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("New says %v, which does not name %s", err, name)
		}
	}
}

func TestMetricsAreLinted(t *testing.T) {
	_, reg := newHandler(t, allow)
	problems, err := testutil.GatherAndLint(reg)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

// FuzzDecode sends anything: there is an answer, and it is either a failed call or a
// verdict of the judge about a request that makes sense.
func FuzzDecode(f *testing.F) {
	for _, name := range samples() {
		f.Add(sample(f, name))
	}
	f.Add([]byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","object":{}}}`))
	var asked atomic.Pointer[webhook.Request]
	h, _ := newHandler(f, func(_ context.Context, r webhook.Request) (webhook.Verdict, error) {
		asked.Store(&r)
		return webhook.Verdict{Message: "no"}, nil
	})
	f.Fuzz(func(t *testing.T, body []byte) {
		asked.Store(nil)
		w := post(h, body)
		r := asked.Load()
		if (w.Code == http.StatusOK) != (r != nil) {
			t.Fatalf("status %d, judged %v", w.Code, r != nil)
		}
		if r == nil {
			return
		}
		if resp := answered(t, w); resp.Allowed || string(resp.UID) != strings.ToValidUTF8(r.ID, "\ufffd") {
			t.Errorf("the answer is %+v to %q", resp, r.ID)
		}
		if r.Session == "" || !slices.Contains(webhook.Doors(), r.Door) || r.Pod == "" && r.Service == "" && r.Node == "" {
			t.Errorf("judged %+v", r)
		}
		for _, e := range r.Variants(time.Time{}) {
			if e.Audit.RequestURI == "" || e.ID == "" {
				t.Errorf("the event is %+v", e)
			}
		}
	})
}
