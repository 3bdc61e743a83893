package quarantine_test

import (
	"context"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
	"github.com/portcullis-dev/portcullis/ctl/cluster"
	"github.com/portcullis-dev/portcullis/ctl/quarantine"
	"github.com/portcullis-dev/portcullis/test/apiserver"
)

// world is an API server and somebody who runs commands against it.
type world struct {
	config *rest.Config
	client client.WithWatch
}

// run executes a command line and returns what it printed.
func (w world) run(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	streams, _, out, errOut := genericiooptions.NewTestIOStreams()
	err = w.start(t.Context(), streams, args...)
	return out.String(), errOut.String(), err
}

func (w world) start(ctx context.Context, streams genericiooptions.IOStreams, args ...string) error {
	command := quarantine.New(quarantine.Options{ //nolint:contextcheck // a watch is ended by stopping it
		Connect: func() (client.WithWatch, error) {
			return cluster.NewClient(w.config, "test", io.Discard)
		},
		Namespace: func() (string, error) { return "shop", nil },
		Streams:   streams,
	})
	command.SilenceErrors, command.SilenceUsage = true, true
	command.SetOut(streams.Out)
	command.SetErr(streams.ErrOut)
	command.SetArgs(args)
	return command.ExecuteContext(ctx)
}

func (w world) must(t *testing.T, args ...string) string {
	t.Helper()
	out, _, err := w.run(t, args...)
	if err != nil {
		t.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	return out
}

// as is the same world for another user.
func (w world) as(config *rest.Config) world { return world{config: config, client: w.client} }

// TestCommands shares one API server; each subtest leaves no quarantine behind.
func TestCommands(t *testing.T) {
	server := apiserver.Start(t, apiserver.Options{})
	c, err := cluster.NewClient(server.Config, "test", io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	w := world{config: server.Config, client: c}
	for name, test := range map[string]func(*testing.T, world){
		"empty": testEmpty, "list": testList, "show": testShow, "release": testRelease, "release all": testReleaseAll,
		"add": testAdd, "add any kind": testAddKinds, "status": testStatus, "watch": testWatch, "completion": testCompletion,
	} {
		t.Run(name, func(t *testing.T) {
			test(t, w)
			if err := c.DeleteAllOf(context.WithoutCancel(t.Context()), &v1alpha1.Quarantine{}); err != nil {
				t.Fatal(err)
			}
		})
	}
	t.Run("without rights", func(t *testing.T) { testWithoutRights(t, w.as(server.UserConfig(t, "alice"))) })
}

func TestNotInstalled(t *testing.T) {
	w := world{config: apiserver.Start(t, apiserver.Options{WithoutCRDs: true}).Config}
	for _, args := range [][]string{
		{"list"}, {"list", "--watch"}, {"show", "x"}, {"release", "x"}, {"release", "--all", "--yes"}, {"add", "user", "x", "--reason", "y"},
	} {
		if _, _, err := w.run(t, args...); err == nil || !strings.Contains(err.Error(), "Portcullis is not installed") {
			t.Errorf("%v: %v", args, err)
		}
	}
}

// make creates a quarantine of a pod by a rule.
func (w world) make(t *testing.T, name string, change func(*v1alpha1.Quarantine)) *v1alpha1.Quarantine {
	t.Helper()
	q := &v1alpha1.Quarantine{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.QuarantineSpec{
			Subject:   v1alpha1.Subject{Kind: v1alpha1.SubjectPod, UID: strings.TrimPrefix(name, "pod-"), Namespace: "shop", Name: "web-0"},
			Reason:    "Token read, then used",
			Detection: &v1alpha1.DetectionRef{ID: "d-1", Rule: "token-access"},
			ExpiresAt: &metav1.Time{Time: time.Now().Add(59*time.Minute + 30*time.Second)},
		},
	}
	if change != nil {
		change(q)
	}
	if err := w.client.Create(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	return q
}

func (w world) exists(t *testing.T, name string) bool {
	t.Helper()
	err := w.client.Get(t.Context(), client.ObjectKey{Name: name}, &v1alpha1.Quarantine{})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	return err == nil
}

func testEmpty(t *testing.T, w world) {
	out, errOut, err := w.run(t, "list")
	if err != nil || out != "" || !strings.Contains(errOut, "Nobody is denied") {
		t.Errorf("stdout %q, stderr %q, %v", out, errOut, err)
	}
	if out := w.must(t, "list", "-o", "json"); !json.Valid([]byte(out)) {
		t.Errorf("not JSON: %s", out)
	}
	if out := w.must(t, "list", "-o", "name"); out != "" {
		t.Errorf("names of nothing: %q", out)
	}
}

func testList(t *testing.T, w world) {
	w.make(t, "pod-0c5e5f2c", nil)
	w.make(t, "manual-x", func(q *v1alpha1.Quarantine) {
		q.Spec.Subject = v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: "mallory\x1b[2J"}
		q.Spec.Detection, q.Spec.ExpiresAt = nil, nil
	})
	out := w.must(t, "list")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "NAME ") {
		t.Fatalf("got\n%s", out)
	}
	for _, want := range []string{"pod shop/web-0", "token-access", "in 59m", `user mallory\u{1b}[2J`, "(by hand)", "never"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	at := strings.Index(lines[0], "SUBJECT")
	for _, line := range lines[1:] {
		if len(line) < at || line[at-1] != ' ' || line[at] == ' ' {
			t.Errorf("columns do not align:\n%s", out)
		}
	}
	if strings.Contains(out, "REASON") || !strings.Contains(w.must(t, "list", "-o", "wide"), "Token read, then used") {
		t.Error("the reason belongs to -o wide")
	}
	names := strings.Fields(w.must(t, "list", "-o", "name"))
	if len(names) != 2 || !strings.HasPrefix(names[0], "quarantine.portcullis.dev/") {
		t.Errorf("names %q", names)
	}
	var list v1alpha1.QuarantineList
	if err := json.Unmarshal([]byte(w.must(t, "list", "-o", "json")), &list); err != nil || len(list.Items) != 2 || list.Kind != "QuarantineList" || list.Items[0].Kind != "Quarantine" {
		t.Errorf("JSON: %v, %+v", err, list)
	}
	if out := w.must(t, "list", "-o", "yaml"); !strings.Contains(out, "rule: token-access") {
		t.Errorf("YAML:\n%s", out)
	}
}

func testShow(t *testing.T, w world) {
	w.make(t, "pod-0c5e5f2c", func(q *v1alpha1.Quarantine) { q.Spec.Reason = "first\nSubject: nobody" })
	out := w.must(t, "show", "pod-0c5e5f2c")
	for _, want := range []string{"pod shop/web-0", "0c5e5f2c", `first\u{a}Subject: nobody`, "token-access", "d-1", "(in 59m)", "portcullisctl quarantine release pod-0c5e5f2c"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	var q v1alpha1.Quarantine
	if err := json.Unmarshal([]byte(w.must(t, "show", "pod-0c5e5f2c", "-o", "json")), &q); err != nil || q.Name != "pod-0c5e5f2c" {
		t.Errorf("JSON: %v", err)
	}
	if _, _, err := w.run(t, "show", "pod-2"); err == nil || !strings.Contains(err.Error(), `no quarantine "pod-2"`) {
		t.Errorf("a missing one: %v", err)
	}
}

func testRelease(t *testing.T, w world) {
	w.make(t, "pod-0c5e5f2c", nil)
	w.make(t, "pod-2", nil)
	out, _, err := w.run(t, "release", "pod-0c5e5f2c", "gone", "pod-2")
	if err == nil || !strings.Contains(err.Error(), `"gone"`) {
		t.Errorf("a missing one: %v", err)
	}
	if w.exists(t, "pod-0c5e5f2c") || w.exists(t, "pod-2") {
		t.Error("one that is missing kept others")
	}
	if !strings.Contains(out, "released pod shop/web-0 (quarantine pod-0c5e5f2c)") {
		t.Errorf("told %q", out)
	}
}

func testReleaseAll(t *testing.T, w world) {
	w.make(t, "pod-0c5e5f2c", nil)
	w.make(t, "pod-2", nil)
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"nobody named": {[]string{"release"}, "which one?"},
		"unconfirmed":  {[]string{"release", "--all"}, "--yes"},
		"both":         {[]string{"release", "--all", "--yes", "pod-0c5e5f2c"}, "not both"},
		"yes to what":  {[]string{"release", "--yes", "pod-0c5e5f2c"}, "--all"},
	} {
		if _, _, err := w.run(t, tc.args...); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !w.exists(t, "pod-0c5e5f2c") || !w.exists(t, "pod-2") {
		t.Fatal("released in spite of an error")
	}
	if out := w.must(t, "release", "--all", "--yes"); strings.Count(out, "released") != 2 {
		t.Errorf("told %q", out)
	}
	if w.exists(t, "pod-0c5e5f2c") || w.exists(t, "pod-2") {
		t.Error("not everybody was released")
	}
	if _, errOut, err := w.run(t, "release", "--all", "--yes"); err != nil || !strings.Contains(errOut, "Nobody is denied") {
		t.Errorf("again: %q, %v", errOut, err)
	}
}

func testAdd(t *testing.T, w world) {
	ctx := t.Context()
	w.makeNamespace(t)
	admin := kubernetes.NewForConfigOrDie(w.config).CoreV1()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web-0", Namespace: "shop"},
		Spec:       corev1.PodSpec{NodeName: "worker-3", Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	}
	pod, err := admin.Pods("shop").Create(ctx, pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	var q v1alpha1.Quarantine
	out := w.must(t, "add", "pod", "web-0", "--reason", "under investigation", "--duration", "4h", "-o", "json")
	if err := json.Unmarshal([]byte(out), &q); err != nil {
		t.Fatal(err)
	}
	want := v1alpha1.Subject{Kind: v1alpha1.SubjectPod, UID: string(pod.UID), Namespace: "shop", Name: "web-0", NodeName: "worker-3"}
	if q.Spec.Subject != want || q.Spec.Reason != "under investigation" || q.Spec.Detection != nil {
		t.Errorf("got %+v", q.Spec)
	}
	if left := q.Spec.ExpiresAt.Sub(before); left < 4*time.Hour-time.Second || left > 4*time.Hour+time.Minute {
		t.Errorf("expires after %s", left)
	}
	out = w.must(t, "add", "user", "system:serviceaccount:shop:cart", "--reason", "leaked")
	if !strings.Contains(out, "user system:serviceaccount:shop:cart") || !strings.Contains(out, "until it is released") || !strings.Contains(out, "manual-") {
		t.Errorf("got\n%s", out)
	}
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"no reason":    {[]string{"add", "user", "x"}, "reason"},
		"empty reason": {[]string{"add", "user", "x", "--reason", " "}, "--reason"},
		"long reason":  {[]string{"add", "user", "x", "--reason", strings.Repeat("a", 1025)}, "spec.reason"},
		"negative":     {[]string{"add", "user", "x", "--reason", "y", "--duration", "-1h"}, "negative"},
		"no such pod":  {[]string{"add", "pod", "db-0", "--reason", "y"}, `no pod "db-0" in namespace shop`},
		"empty name":   {[]string{"add", "user", "", "--reason", "y"}, "empty"},
	} {
		if _, _, err := w.run(t, tc.args...); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

// makeNamespace makes the namespace shop, unless it is there.
func (w world) makeNamespace(t *testing.T) {
	t.Helper()
	err := w.client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
}

func testAddKinds(t *testing.T, w world) {
	w.makeNamespace(t)
	for _, object := range []client.Object{
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart"}}, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "worker-3"}},
	} {
		if err := w.client.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		args []string
		want v1alpha1.Subject
		says string
	}{
		{[]string{"user", "mallory"}, v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: "mallory"}, "user mallory"},
		{[]string{"group", "contractors"}, v1alpha1.Subject{Kind: v1alpha1.SubjectGroup, Name: "contractors"}, "group contractors"},
		{[]string{"credential", "JTI=7a5e"}, v1alpha1.Subject{Kind: v1alpha1.SubjectCredential, Name: "JTI=7a5e"}, "credential JTI=7a5e"},
		{[]string{"serviceaccount", "shop/cart"}, v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Namespace: "shop", Name: "cart"}, "serviceaccount shop/cart"},
		{[]string{"sa", "cart"}, v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Namespace: "shop", Name: "cart"}, "serviceaccount shop/cart"},
		{[]string{"sa", "system:serviceaccount:shop:cart"}, v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Namespace: "shop", Name: "cart"}, "serviceaccount shop/cart"},
		{[]string{"node", "worker-3"}, v1alpha1.Subject{Kind: v1alpha1.SubjectNode, Name: "worker-3"}, "node worker-3"},
		{[]string{"ns", "namespace/shop"}, v1alpha1.Subject{Kind: v1alpha1.SubjectNamespace, Name: "shop"}, "namespace shop"},
	} {
		args := slices.Concat([]string{"add"}, tc.args, []string{"--reason", "why not", "--operations", "exec,attach", "--operations", "exec", "-o", "json"})
		var q v1alpha1.Quarantine
		out := w.must(t, args...)
		if err := json.Unmarshal([]byte(out), &q); err != nil {
			t.Fatal(err)
		}
		if q.Spec.Subject != tc.want || !slices.Equal(q.Spec.Operations, []v1alpha1.Operation{"exec", "attach"}) {
			t.Errorf("%v: got %+v", tc.args, q.Spec)
		}
		if out := w.must(t, "show", q.Name); !strings.Contains(out, tc.says+"\n") || !strings.Contains(out, "exec,attach") || !strings.Contains(out, "has not said so yet") {
			t.Errorf("%v: shown as\n%s", tc.args, out)
		}
	}
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"no such node":         {[]string{"node", "worker-4"}, `no node "worker-4"`},
		"no such namespace":    {[]string{"namespace", "shp"}, `no namespace "shp"`},
		"no such account":      {[]string{"serviceaccount", "shop/crt"}, `no service account "crt" in namespace shop`},
		"half an account":      {[]string{"serviceaccount", "shop/"}, "is not NAMESPACE/NAME"},
		"too much of one":      {[]string{"serviceaccount", "a/b/c"}, "is not NAMESPACE/NAME"},
		"no such operation":    {[]string{"user", "x", "--operations", "exec,kill"}, `"kill" is none of exec, attach`},
		"an empty operation":   {[]string{"user", "x", "--operations", ""}, "is none of"},
		"two subjects at once": {[]string{"user", "x", "y"}, "accepts 1 arg"},
	} {
		if _, _, err := w.run(t, append(append([]string{"add"}, tc.args...), "--reason", "y")...); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
	for line, want := range map[string]string{
		"add serviceaccount ": "shop/cart", "add node ": "worker-3", "add namespace ": "shop", "add user x --operations exec,": "exec,attach",
	} {
		if out := w.must(t, append([]string{"__complete"}, strings.Split(line, " ")...)...); !strings.Contains(out, want) {
			t.Errorf("%s: completes %q, want %q", line, out, want)
		}
	}
}

// testStatus: what Portcullis says of a quarantine is shown.
func testStatus(t *testing.T, w world) {
	for name, status := range map[string]metav1.ConditionStatus{"manual-on": metav1.ConditionTrue, "manual-off": metav1.ConditionFalse} {
		q := w.make(t, name, nil)
		q.Status = v1alpha1.QuarantineStatus{
			NodeName: "worker-3", LastDenied: &metav1.Time{Time: time.Now().Add(-5 * time.Minute)},
			Conditions: []metav1.Condition{{Type: v1alpha1.ConditionEnforced, Status: status, Reason: "Because", Message: "it is so\x1b", LastTransitionTime: metav1.Now()}},
		}
		if err := w.client.Status().Update(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	out := w.must(t, "list", "-o", "wide", "--no-headers")
	for _, want := range []string{"yes", "no ", "worker-3", "all"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	if strings.Contains(out, "ENFORCED") || !strings.Contains(w.must(t, "list"), "ENFORCED") {
		t.Errorf("headers:\n%s", out)
	}
	out = w.must(t, "show", "manual-off")
	for _, want := range []string{`no: it is so\u{1b}`, "worker-3", "Last denied:", "(5m", "Denied:"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
}

// testWatch waits for lines, never for time.
func testWatch(t *testing.T, w world) {
	w.make(t, "pod-0c5e5f2c", nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	lines, writer := newLines()
	done := make(chan error, 1)
	go func() {
		done <- w.start(ctx, genericiooptions.IOStreams{Out: writer, ErrOut: writer}, "list", "--watch")
	}()

	lines.next(t, "CHANGE")
	lines.next(t, "present   pod-0c5e5f2c")
	w.make(t, "pod-2", nil)
	lines.next(t, "added     pod-2")
	w.must(t, "release", "pod-0c5e5f2c")
	lines.next(t, "released   pod-0c5e5f2c")
	cancel()
	if err := <-done; err != nil {
		t.Errorf("an interrupt is an error: %v", err)
	}
}

func testCompletion(t *testing.T, w world) {
	w.make(t, "pod-0c5e5f2c", nil)
	w.make(t, "pod-2", nil)
	out := w.must(t, "__complete", "release", "pod-0c5e5f2c", "")
	if !strings.Contains(out, "pod-2\tpod shop/web-0") || strings.Contains(out, "pod-0c5e5f2c") {
		t.Errorf("completes %q", out)
	}
}

func testWithoutRights(t *testing.T, w world) {
	for _, args := range [][]string{{"list"}, {"list", "--watch"}, {"show", "x"}, {"release", "x"}, {"add", "user", "x", "--reason", "y"}} {
		_, _, err := w.run(t, args...)
		if err == nil || !strings.Contains(err.Error(), "portcullis-releaser") || !strings.Contains(err.Error(), `"alice"`) {
			t.Errorf("%v: %v, want what alice lacks and which role has it", args, err)
		}
	}
}

// lines hands over what is written, line by line.
type lines struct {
	text chan string
	rest string
}

func newLines() (*lines, io.Writer) {
	l := &lines{text: make(chan string, 100)}
	return l, l
}

func (l *lines) Write(p []byte) (int, error) {
	l.rest += string(p)
	for {
		line, rest, ok := strings.Cut(l.rest, "\n")
		if !ok {
			return len(p), nil
		}
		l.rest = rest
		l.text <- line
	}
}

func (l *lines) next(t *testing.T, want string) {
	t.Helper()
	select {
	case line := <-l.text:
		if !strings.Contains(line, want) {
			t.Fatalf("got %q, want %q", line, want)
		}
	case <-time.After(time.Minute):
		t.Fatalf("no line with %q", want)
	}
}
