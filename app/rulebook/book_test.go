package rulebook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/rule"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// never is an interval that no test lives to see: what is noticed then, the
// kernel has told.
const never = 24 * time.Hour

// user records what it is told.
type user struct {
	refuse   error
	used     []*rule.Set
	outcomes chan error
}

func (u *user) UseRules(rules *rule.Set) error {
	u.used = append(u.used, rules)
	return u.refuse
}

func (u *user) RulesChanged(failure error) { u.outcomes <- failure }

// logged is a log that may be read while it is written.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

// harness is a Book that follows a folder.
type harness struct {
	*Book
	t    *testing.T
	dir  string
	user *user
	log  *logged
	stop func()
}

// options are those of a Book over a folder.
func options(dir string) Options {
	return Options{
		Sources: Sources{Directories: []string{dir}},
		Schema:  field.New(), Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
		Clock:    func() time.Time { return time.Unix(1000, 0) },
		Interval: never, Settle: time.Millisecond,
	}
}

func follow(t *testing.T, dir string, change func(*Options, *user)) *harness {
	t.Helper()
	h := &harness{t: t, dir: dir, user: &user{outcomes: make(chan error, 100)}, log: &logged{}}
	o := options(dir)
	if change != nil {
		change(&o, h.user)
	}
	h.begin(o)
	t.Cleanup(func() { h.stop() })
	return h
}

// begin makes the Book and runs it until stop.
func (h *harness) begin(o Options) {
	h.t.Helper()
	o.Logger = slog.New(slog.NewTextHandler(h.log, nil))
	var err error
	if h.Book, err = New(o); err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(h.t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx, h.user) }()
	h.stop = func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Errorf("run ended with %v", err)
		}
	}
}

// await waits for an outcome.
func (h *harness) await() error {
	h.t.Helper()
	select {
	case err := <-h.user.outcomes:
		return err
	case <-h.t.Context().Done():
		return nil
	case <-time.After(time.Minute):
		h.t.Fatal("nothing was noticed in a minute")
		return nil
	}
}

// awaitRules waits until exactly these rules are in force. Files change one
// after the other, so there may be outcomes on the way.
func (h *harness) awaitRules(want ...string) {
	h.t.Helper()
	for {
		if err := h.await(); err != nil {
			h.t.Logf("on the way: %v", err)
		} else if cmp.Equal(want, names(h.Rules())) {
			return
		}
	}
}

// expectRules fails if others are in force.
func (h *harness) expectRules(want ...string) {
	h.t.Helper()
	if diff := cmp.Diff(want, names(h.Rules())); diff != "" {
		h.t.Errorf("rules in force (-want +got):\n%s", diff)
	}
}

// awaitFailure waits until a change has failed for that reason.
func (h *harness) awaitFailure(want string) {
	h.t.Helper()
	for {
		if err := h.await(); err != nil && strings.Contains(err.Error(), want) {
			return
		} else if err != nil {
			h.t.Logf("on the way: %v", err)
		}
	}
}

func (h *harness) write(name, text string) { write(h.t, filepath.Join(h.dir, name), text) }

// write puts a file there at once, as editors and git do.
func write(t *testing.T, path, text string) {
	t.Helper()
	next := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".next")
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(next, []byte(text), 0o600), os.Rename(next, path)); err != nil {
		t.Fatal(err)
	}
}

// ruleText is a rule of that name.
func ruleText(name string) string {
	return fmt.Sprintf(`apiVersion: portcullis.dev/v1alpha1
kind: DetectionRule
metadata: {name: %s}
spec:
  title: A shell
  description: Somebody started a shell.
  severity: low
  riskScore: 1
  query: process where process.name == "sh"
`, name)
}

func broken(name string) string {
	return strings.Replace(ruleText(name), "process.name", "process.nmae", 1)
}

func TestRulesFollowTheirFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yaml"), ruleText("a"))
	h := follow(t, dir, nil)
	if got := names(h.Rules()); !cmp.Equal([]string{"a"}, got) {
		t.Fatalf("the book begins with %v", got)
	}

	h.write("b.yaml", ruleText("b"))
	h.awaitRules("a", "b")

	h.write("a.yaml", strings.Replace(ruleText("a"), "low", "high", 1))
	h.awaitRules("a", "b")
	if h.Rules().Get("a").Severity != rule.High {
		t.Error("the change is not in force")
	}

	h.write("b.yaml", broken("b"))
	h.awaitFailure("b.yaml:9:24")
	h.expectRules("a", "b")

	h.write("b.yaml", ruleText("c"))
	h.awaitRules("a", "c")

	if err := os.Remove(filepath.Join(dir, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	h.awaitRules("c")

	h.write("deep/down/d.yml", ruleText("d"))
	h.awaitRules("c", "d")
	h.write("deep/down/e.yml", ruleText("e"))
	h.awaitRules("c", "d", "e")

	if last := h.user.used[len(h.user.used)-1]; last != h.Rules() {
		t.Error("the user has other rules than the book")
	}
}

// mount makes a folder what a kubelet makes of a ConfigMap, in the kubelet's order:
// a new folder of files, a link to it swapped, and links through that one.
func mount(t *testing.T, dir, version string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		write(t, filepath.Join(dir, version, name), text)
	}
	next, data := filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")
	if err := errors.Join(os.Symlink(version, next), os.Rename(next, data)); err != nil {
		t.Fatal(err)
	}
	for name := range files {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrExist) {
			t.Fatal(err)
		}
	}
}

func TestRulesFollowAMountedConfigMap(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mount(t, dir, "..2026_08_22_1", map[string]string{"a.yaml": ruleText("a")})
	h := follow(t, dir, nil)

	mount(t, dir, "..2026_08_22_2", map[string]string{"a.yaml": ruleText("a"), "b.yaml": ruleText("b")})
	if err := os.RemoveAll(filepath.Join(dir, "..2026_08_22_1")); err != nil {
		t.Fatal(err)
	}
	h.awaitRules("a", "b")

	mount(t, dir, "..2026_08_22_3", map[string]string{"a.yaml": ruleText("new"), "b.yaml": broken("b")})
	h.awaitFailure("b.yaml:9:24")
	h.expectRules("a", "b")

	mount(t, dir, "..2026_08_22_4", map[string]string{"a.yaml": ruleText("c"), "b.yaml": ruleText("b")})
	h.awaitRules("b", "c")
}

// A folder that is a link, exchanged as a whole, is nothing that the kernel tells of.
func TestAFolderIsExchangedAsAWhole(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write(t, filepath.Join(root, "one", "a.yaml"), ruleText("a"))
	write(t, filepath.Join(root, "two", "b.yaml"), ruleText("b"))
	current, next := filepath.Join(root, "current"), filepath.Join(root, "next")
	if err := os.Symlink("one", current); err != nil {
		t.Fatal(err)
	}
	h := follow(t, current, func(o *Options, _ *user) { o.Interval = 5 * time.Millisecond })
	if err := errors.Join(os.Symlink("two", next), os.Rename(next, current)); err != nil {
		t.Fatal(err)
	}
	h.awaitRules("b")
	write(t, filepath.Join(root, "two", "c.yaml"), ruleText("c"))
	h.awaitRules("b", "c")
}

func TestAFolderThatIsGoneChangesNothing(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "rules")
	write(t, filepath.Join(dir, "a.yaml"), ruleText("a"))
	h := follow(t, dir, func(o *Options, _ *user) { o.Interval = 5 * time.Millisecond })
	if err := os.Rename(dir, dir+"-away"); err != nil {
		t.Fatal(err)
	}
	h.awaitFailure("rules in " + dir)
	h.expectRules("a")
	write(t, filepath.Join(dir, "b.yaml"), ruleText("b"))
	h.awaitRules("b")
}

func TestRulesThatTheConfigurationNamesCannotGo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yaml"), ruleText("enforced"))
	h := follow(t, dir, func(o *Options, _ *user) { o.Sources.Named = []string{"enforced"} })
	h.write("a.yaml", ruleText("enforcer"))
	h.awaitFailure(`configuration: rules[enforced]: there is no such rule, did you mean "enforcer"?`)
	if h.Rules().Get("enforced") == nil {
		t.Error("the rule has gone")
	}
}

func TestRulesThatTheirUserRefusesAreNotInForce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yaml"), ruleText("a"))
	h := follow(t, dir, func(_ *Options, u *user) { u.refuse = errors.New("no room") })
	h.write("b.yaml", ruleText("b"))
	h.awaitFailure("no room")
	h.expectRules("a")
}

// What is wrong is tried again, since it may have been the disk, but told once.
func TestFailureIsLoggedOnceAndShownUntilItIsMended(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yaml"), ruleText("a"))
	h := follow(t, dir, func(o *Options, _ *user) { o.Interval = 5 * time.Millisecond })
	h.write("a.yaml", broken("a"))
	for range 3 {
		h.awaitFailure("a.yaml:9:24")
	}
	if got := h.log.count("are not right"); got != 1 {
		t.Errorf("the failure was logged %d times", got)
	}
	if got := testutil.ToFloat64(h.metrics.successful); got != 0 {
		t.Errorf("after a failure the last reload's success is %v", got)
	}
	h.write("a.yaml", ruleText("b"))
	for h.Rules().Get("b") == nil {
		_ = h.await()
	}
	if got := testutil.ToFloat64(h.metrics.successful); got != 1 {
		t.Errorf("after a success the last reload's success is %v", got)
	}
}

// Files that change back and forth, or without being rules, change nothing.
func TestOnlyContentsCount(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yaml"), ruleText("a"))
	h := follow(t, dir, nil)
	h.write("README.md", "words")
	h.write("a.yaml", ruleText("a"))
	h.write("b.yaml", ruleText("b"))
	h.awaitRules("a", "b")
	if len(h.user.used) != 1 {
		t.Errorf("the rules were exchanged %d times, want once", len(h.user.used))
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yaml"), ruleText("a"))
	write(t, filepath.Join(dir, "elastic", "x.toml"), elasticRule("query", "x: y"))
	write(t, filepath.Join(dir, "elastic", "y.toml"), elasticRule("eql", `process where process.name == "sh"`))
	o := options(dir)
	o.Sources.Elastic = []string{filepath.Join(dir, "elastic")}
	registry := prometheus.NewRegistry()
	o.Registerer = registry
	if _, err := New(o); err != nil {
		t.Fatal(err)
	}
	const want = `
# HELP portcullis_rules_kept Whether the rule files in force are kept on disk. If not (0), a start with wrong files fails.
# TYPE portcullis_rules_kept gauge
portcullis_rules_kept 0
# HELP portcullis_rules_last_reload_success_timestamp_seconds When rules were last put in force.
# TYPE portcullis_rules_last_reload_success_timestamp_seconds gauge
portcullis_rules_last_reload_success_timestamp_seconds 1000
# HELP portcullis_rules_last_reload_successful Whether the rule files are right as they are now. If not (0), the rules of before go on.
# TYPE portcullis_rules_last_reload_successful gauge
portcullis_rules_last_reload_successful 1
# HELP portcullis_rules_loaded Rules, by whose format they are written in and whether they run.
# TYPE portcullis_rules_loaded gauge
portcullis_rules_loaded{origin="elastic",state="not-run"} 1
portcullis_rules_loaded{origin="elastic",state="running"} 1
portcullis_rules_loaded{origin="portcullis",state="running"} 1
# HELP portcullis_rules_reloads_total Attempts to put changed rule files in force. One that failed is repeated until the files are right.
# TYPE portcullis_rules_reloads_total counter
portcullis_rules_reloads_total{outcome="failure"} 0
portcullis_rules_reloads_total{outcome="success"} 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

func TestABookBeginsWithGoodRulesOrNotAtAll(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"bad file":         {func(o *Options) { write(t, filepath.Join(o.Sources.Directories[0], "b.yaml"), broken("b")) }, "b.yaml:9:24"},
		"no folder":        {func(o *Options) { o.Sources.Directories = []string{"/does/not/exist"} }, "/does/not/exist"},
		"no such rule":     {func(o *Options) { o.Sources.Named = []string{"nobody"} }, "rules[nobody]"},
		"too much to read": {func(o *Options) { o.MaxBytes = 100 }, "more than 100 bytes"},
		"name twice":       {func(o *Options) { o.Sources.Directories = append(o.Sources.Directories, o.Sources.Directories[0]) }, `rule "a"`},
		"no schema":        {func(o *Options) { o.Schema = nil }, "Schema"},
		"no logger":        {func(o *Options) { o.Logger = nil }, "Logger"},
		"no registerer":    {func(o *Options) { o.Registerer = nil }, "Registerer"},
		"no clock":         {func(o *Options) { o.Clock = nil }, "Clock"},
		"negative":         {func(o *Options) { o.Interval = -1 }, "negative"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write(t, filepath.Join(dir, "a.yaml"), ruleText("a"))
			o := options(dir)
			row.change(&o)
			if _, err := New(o); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("error is %v, want one about %q", err, row.want)
			}
		})
	}
}
