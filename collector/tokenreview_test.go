package collector

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/portcullis-dev/portcullis/test/apiserver"
)

const agentAccount = "system:serviceaccount:portcullis:portcullis-agent"

// reviewServer answers TokenReviews over HTTP, as an API server would.
type reviewServer struct {
	answer func(token string) (authenticationv1.TokenReviewStatus, int)
	asked  atomic.Int32
}

func (s *reviewServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.asked.Add(1)
	var review authenticationv1.TokenReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil || len(review.Spec.Audiences) != 1 {
		http.Error(w, "odd review", http.StatusBadRequest)
		return
	}
	status, code := s.answer(review.Spec.Token)
	review.Status = status
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(review)
}

func newReviewer(t testing.TB, s *reviewServer, clock func() time.Time) *TokenReviewer {
	t.Helper()
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	clients, err := kubernetes.NewForConfig(&rest.Config{Host: web.URL, QPS: -1, ContentConfig: rest.ContentConfig{
		ContentType: "application/json", AcceptContentTypes: "application/json",
	}})
	if err != nil {
		t.Fatal(err)
	}
	return reviewer(t, clients, clock)
}

func reviewer(t testing.TB, clients kubernetes.Interface, clock func() time.Time) *TokenReviewer {
	t.Helper()
	r, err := NewTokenReviewer(TokenReviewerOptions{
		Reviews: clients.AuthenticationV1().TokenReviews(), Namespace: "portcullis", ServiceAccount: "portcullis-agent", Clock: clock,
	})
	if err != nil {
		t.Fatalf("new reviewer: %v", err)
	}
	return r
}

// jwt is a token with that payload. Its signature is its name, see signature.
func jwt(payload, name string) string {
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + "." + name
}

// agentToken is one that may be an agent's, as far as it says itself.
func agentToken(name string) string {
	return jwt(`{"aud":["portcullis"],"sub":"`+agentAccount+`"}`, name)
}

// TestImpossibleTokensCostNoReview: what reaches the API server in vain, anybody can send.
func TestImpossibleTokensCostNoReview(t *testing.T) {
	s := &reviewServer{answer: func(string) (authenticationv1.TokenReviewStatus, int) { return good(nil), 201 }}
	r := newReviewer(t, s, time.Now)
	rest := `,"sub":"` + agentAccount + `"}`
	for name, tc := range map[string]struct{ token, want string }{
		"empty":               {"", "not a service account's token"},
		"opaque":              {"rubbish", "not a service account's token"},
		"two parts":           {"e30.e30", "not a service account's token"},
		"four parts":          {agentToken("x") + ".y", "not a service account's token"},
		"no signature":        {agentToken(""), "not a service account's token"},
		"no base64":           {"e30.+/+=.x", "not a service account's token"},
		"no JSON":             {jwt("secret", "x"), "not a service account's token"},
		"a JSON list":         {jwt("[]", "x"), "not a service account's token"},
		"JSON with a tail":    {jwt(`{"aud":"portcullis"`+rest+"{}", "x"), "not a service account's token"},
		"nested without end":  {jwt(strings.Repeat("[", 11000), "x"), "not a service account's token"},
		"an odd audience":     {jwt(`{"aud":{"portcullis":1}`+rest, "x"), "not a service account's token"},
		"no audience":         {jwt(`{"sub":"`+agentAccount+`"}`, "x"), "not for audience"},
		"an API token":        {jwt(`{"aud":["https://kubernetes.default.svc"]`+rest, "x"), "not for audience"},
		"a similar audience":  {jwt(`{"aud":"portcullis2"`+rest, "x"), "not for audience"},
		"no subject":          {jwt(`{"aud":["portcullis"]}`, "x"), `it is of ""`},
		"another account":     {jwt(`{"aud":["portcullis"],"sub":"system:serviceaccount:shop:cart"}`, "x"), "system:serviceaccount:shop:cart"},
		"longer than a token": {agentToken(strings.Repeat("x", maxToken)), "longer than 16384 bytes"},
	} {
		_, err := r.Authenticate(context.Background(), tc.token)
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want a refusal with %q", name, err, tc.want)
		}
		if strings.Contains(fmt.Sprint(err), "secret") {
			t.Errorf("%s: the error shows what is in the token: %v", name, err)
		}
	}
	if n := s.asked.Load(); n != 0 || len(r.refused) != 0 {
		t.Errorf("%d reviews asked for, %d refusals remembered", n, len(r.refused))
	}
	for _, token := range []string{agentToken("x"), jwt(`{"aud":"portcullis"`+rest, "x"), jwt(`{"aud":["a","portcullis"]`+rest, "x")} {
		if _, err := r.Authenticate(context.Background(), token); err != nil {
			t.Errorf("%s: %v", token, err)
		}
	}
	// That it could be an agent's is not enough.
	s.answer = func(string) (authenticationv1.TokenReviewStatus, int) {
		return authenticationv1.TokenReviewStatus{}, 201
	}
	if _, err := r.Authenticate(context.Background(), agentToken("forged")); !errors.Is(err, ErrRefused) || s.asked.Load() != 4 {
		t.Errorf("a forged token: %v after %d reviews", err, s.asked.Load())
	}
}

// signature is the last part of a token.
func signature(token string) string { return token[strings.LastIndex(token, ".")+1:] }

// good is the verdict about an agent's token; change alters it.
func good(change func(*authenticationv1.TokenReviewStatus)) authenticationv1.TokenReviewStatus {
	s := authenticationv1.TokenReviewStatus{
		Authenticated: true, Audiences: []string{"portcullis"},
		User: authenticationv1.UserInfo{Username: agentAccount, Extra: map[string]authenticationv1.ExtraValue{
			extraNodeName: {"node-1"}, extraPodName: {"agent-x"}, extraPodUID: {"u-1"},
		}},
	}
	if change != nil {
		change(&s)
	}
	return s
}

func TestTokenReview(t *testing.T) {
	type status = authenticationv1.TokenReviewStatus
	for name, tc := range map[string]struct {
		change func(*status)
		code   int
		agent  Agent
		// refused says whether the error is about the token.
		refused bool
		want    string
	}{
		"good":                 {nil, 201, Agent{Node: "node-1", PodName: "agent-x", PodUID: "u-1"}, false, ""},
		"without a pod":        {func(s *status) { s.User.Extra = map[string]authenticationv1.ExtraValue{extraNodeName: {"n"}} }, 201, Agent{Node: "n"}, false, ""},
		"not authenticated":    {func(s *status) { *s = status{Error: "token has expired"} }, 201, Agent{}, true, `for audience "portcullis" (token has expired)`},
		"another audience":     {func(s *status) { s.Audiences = []string{"api"} }, 201, Agent{}, true, "not for audience"},
		"no audience":          {func(s *status) { s.Audiences = nil }, 201, Agent{}, true, "not for audience"},
		"another account":      {func(s *status) { s.User.Username = "system:serviceaccount:shop:cart" }, 201, Agent{}, true, `it is of "system:serviceaccount:shop:cart", want "` + agentAccount},
		"a similar account":    {func(s *status) { s.User.Username += "2" }, 201, Agent{}, true, "want"},
		"no node":              {func(s *status) { s.User.Extra = nil }, 201, Agent{}, true, "Kubernetes 1.30"},
		"two nodes":            {func(s *status) { s.User.Extra[extraNodeName] = []string{"a", "b"} }, 201, Agent{}, true, "not bound to a node"},
		"API server is broken": {nil, 500, Agent{}, false, "review token"},
		"no right to ask":      {nil, 403, Agent{}, false, "review token"},
	} {
		r := newReviewer(t, &reviewServer{answer: func(string) (status, int) { return good(tc.change), tc.code }}, time.Now)
		agent, err := r.Authenticate(context.Background(), agentToken("secret-token"))
		if diff := cmp.Diff(tc.agent, agent); diff != "" {
			t.Errorf("%s: agent (-want +got):\n%s", name, diff)
		}
		if (err != nil) != (tc.want != "") || !strings.Contains(fmt.Sprint(err), tc.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, tc.want)
		}
		if errors.Is(err, ErrRefused) != tc.refused {
			t.Errorf("%s: %v is taken for the token's fault: %v", name, err, !tc.refused)
		}
		if strings.Contains(fmt.Sprint(err), "secret-token") {
			t.Errorf("%s: the error holds the token", name)
		}
	}
}

func TestVerdictsAreRemembered(t *testing.T) {
	now := happened
	var mu sync.Mutex
	clock := func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}
	advance := func(d time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(d)
	}
	s := &reviewServer{answer: func(token string) (authenticationv1.TokenReviewStatus, int) {
		switch signature(token) {
		case "good":
			return good(nil), 201
		case "bad":
			return authenticationv1.TokenReviewStatus{}, 201
		}
		return authenticationv1.TokenReviewStatus{}, 500
	}}
	r := newReviewer(t, s, clock)
	asked := func(token string) int32 {
		before := s.asked.Load()
		_, _ = r.Authenticate(context.Background(), agentToken(token))
		return s.asked.Load() - before
	}
	for _, step := range []struct {
		token string
		after time.Duration
		asks  int32
	}{
		{"good", 0, 1},
		{"good", cacheFor - time.Second, 0},
		{"good", time.Second, 1},
		{"bad", 0, 1},
		{"bad", cacheRefusalFor - time.Second, 0},
		{"bad", time.Second, 1},
		{"broken", 0, 1},
		{"broken", 0, 1}, // what could not be checked is not remembered
	} {
		advance(step.after)
		if got := asked(step.token); got != step.asks {
			t.Errorf("%s after %s: asked %d times, want %d", step.token, step.after, got, step.asks)
		}
	}
}

func TestFloodDoesNotDriveGoodTokensOut(t *testing.T) {
	r := newReviewer(t, &reviewServer{}, func() time.Time { return happened })
	key := func(i int) (k tokenHash) {
		copy(k[:], fmt.Sprint(i))
		return k
	}
	r.remember(key(-1), Agent{Node: "node-1"}, nil)
	for i := range 3 * maxCached {
		r.remember(key(i), Agent{}, ErrRefused)
		if len(r.refused) > maxCached {
			t.Fatalf("remembers %d refusals", len(r.refused))
		}
	}
	if _, ok := r.cached(key(-1)); !ok {
		t.Error("the good one is gone")
	}
	for i := range 3 * maxCached {
		r.remember(key(i), Agent{Node: "n"}, nil)
		if len(r.good) > maxCached {
			t.Fatalf("remembers %d good ones", len(r.good))
		}
	}
}

func TestReviewsAreBounded(t *testing.T) {
	entered, leave := make(chan struct{}, maxReviews), make(chan struct{})
	s := &reviewServer{answer: func(string) (authenticationv1.TokenReviewStatus, int) {
		entered <- struct{}{}
		<-leave
		return good(nil), 201
	}}
	r := newReviewer(t, s, time.Now)
	var wg sync.WaitGroup
	for i := range maxReviews {
		wg.Go(func() {
			if _, err := r.Authenticate(context.Background(), agentToken(fmt.Sprint(i))); err != nil {
				t.Errorf("review: %v", err)
			}
		})
	}
	for range maxReviews {
		<-entered
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := r.Authenticate(ctx, agentToken("one-more"))
	if err == nil || errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "wait for other token reviews") {
		t.Errorf("one more: %v", err)
	}
	close(leave)
	wg.Wait()
	if got := s.asked.Load(); got != maxReviews {
		t.Errorf("asked %d times", got)
	}
}

func TestNewTokenReviewerNamesTheField(t *testing.T) {
	full := newReviewer(t, &reviewServer{}, time.Now).opts
	for field, change := range map[string]func(*TokenReviewerOptions){
		"Reviews":        func(o *TokenReviewerOptions) { o.Reviews = nil },
		"Namespace":      func(o *TokenReviewerOptions) { o.Namespace = "" },
		"ServiceAccount": func(o *TokenReviewerOptions) { o.ServiceAccount = "" },
		"Clock":          func(o *TokenReviewerOptions) { o.Clock = nil },
	} {
		o := full
		change(&o)
		if _, err := NewTokenReviewer(o); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: got error %v", field, err)
		}
	}
}

// TestRealTokens has a real API server make and judge tokens.
func TestRealTokens(t *testing.T) {
	server := apiserver.Start(t, apiserver.Options{WithoutCRDs: true})
	clients, err := kubernetes.NewForConfig(server.Config)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	pod := runAgent(ctx, t, clients)
	token := func(audience, account string, bound *corev1.Pod) string {
		t.Helper()
		seconds := int64(600)
		request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{audience}, ExpirationSeconds: &seconds}}
		if bound != nil {
			request.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: bound.Name, UID: bound.UID}
		}
		out, failed := clients.CoreV1().ServiceAccounts("portcullis").CreateToken(ctx, account, request, metav1.CreateOptions{})
		if failed != nil {
			t.Fatalf("make token: %v", failed)
		}
		return out.Status.Token
	}
	r := reviewer(t, clients, time.Now)
	agent, err := r.Authenticate(ctx, token("portcullis", "portcullis-agent", pod))
	if err != nil {
		t.Fatalf("the agent's own token: %v", err)
	}
	if diff := cmp.Diff(Agent{Node: "node-1", PodName: pod.Name, PodUID: string(pod.UID)}, agent); diff != "" {
		t.Errorf("agent (-want +got):\n%s", diff)
	}
	for name, tc := range map[string]struct{ token, want string }{
		"an API token":        {token("https://kubernetes.default.svc", "portcullis-agent", pod), "for audience"},
		"of no pod":           {token("portcullis", "portcullis-agent", nil), "not bound to a node"},
		"of another account":  {token("portcullis", "other", nil), "it is of"},
		"rubbish":             {"rubbish", "not a service account's token"},
		"with a changed byte": {token("portcullis", "portcullis-agent", pod) + "x", "does not accept it"},
	} {
		if _, err := r.Authenticate(ctx, tc.token); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want a refusal with %q", name, err, tc.want)
		}
	}
}

// runAgent makes a node and an agent's pod on it. Nothing runs; for tokens it is enough.
func runAgent(ctx context.Context, t testing.TB, clients kubernetes.Interface) *corev1.Pod {
	t.Helper()
	create := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("create %s: %v", what, err)
		}
	}
	_, err := clients.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "portcullis"}}, metav1.CreateOptions{})
	create("namespace", err)
	for _, name := range []string{"portcullis-agent", "other"} {
		_, err = clients.CoreV1().ServiceAccounts("portcullis").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		create("service account", err)
	}
	_, err = clients.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}}, metav1.CreateOptions{})
	create("node", err)
	pod, err := clients.CoreV1().Pods("portcullis").Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "agent-x"},
		Spec: corev1.PodSpec{
			ServiceAccountName: "portcullis-agent", NodeName: "node-1",
			Containers: []corev1.Container{{Name: "agent", Image: "agent"}},
		},
	}, metav1.CreateOptions{})
	create("pod", err)
	return pod
}
