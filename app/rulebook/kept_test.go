package rulebook

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/rule"
	"github.com/portcullis-dev/portcullis/rule/source"
)

// installation is a server's folders, over several starts.
type installation struct {
	t                    *testing.T
	rules, elastic, kept string
	change               func(*Options)
}

func install(t *testing.T) *installation {
	t.Helper()
	dir := t.TempDir()
	i := &installation{t: t, rules: filepath.Join(dir, "rules"), elastic: filepath.Join(dir, "elastic"), kept: filepath.Join(dir, "data", "rules.tar.gz")}
	if err := errors.Join(os.Mkdir(i.rules, 0o700), os.Mkdir(i.elastic, 0o700), os.Mkdir(filepath.Dir(i.kept), 0o700)); err != nil {
		t.Fatal(err)
	}
	return i
}

func (i *installation) options() Options {
	o := options(i.rules)
	o.Sources.Elastic, o.Keep = []string{i.elastic}, i.kept
	if i.change != nil {
		i.change(&o)
	}
	return o
}

// start starts a server, until stop.
func (i *installation) start() *harness {
	i.t.Helper()
	h := &harness{t: i.t, dir: i.rules, user: &user{outcomes: make(chan error, 100)}, log: &logged{}}
	h.begin(i.options())
	return h
}

// lived starts and stops a server: what it has in force then is kept.
func (i *installation) lived() {
	i.t.Helper()
	i.start().stop()
}

func (i *installation) write(name, text string) {
	i.t.Helper()
	write(i.t, filepath.Join(i.rules, name), text)
}

func TestAStartWithWrongFilesGoesOnWithTheLastGoodOnes(t *testing.T) {
	t.Parallel()
	i := install(t)
	i.write("a.yaml", ruleText("a"))
	i.write("deep/b.yaml", ruleText("b"))
	write(t, filepath.Join(i.elastic, "shell_of_elastic.toml"), elasticRule("eql", `process where process.name == "sh"`))
	write(t, filepath.Join(i.elastic, "unsupported.toml"), elasticRule("threshold", "x: y"))
	i.lived()

	i.write("a.yaml", broken("a"))
	i.change = func(o *Options) { o.Clock = func() time.Time { return time.Unix(2000, 0) } }
	s := i.start()
	defer func() { s.stop() }()
	all := []string{"a", "b", "shell-of-elastic"}
	s.expectRules(all...)
	if got, want := s.Rules().Get("b").File, filepath.Join(i.rules, "deep/b.yaml"); got != want {
		t.Errorf("b is from %s, want %s", got, want)
	}
	if s.log.count("level=ERROR") != 1 || s.log.count("rules that were in force before the start go on") != 1 || s.log.count("a.yaml:9:24") != 1 {
		t.Errorf("logged:\n%s", s.log.text.String())
	}
	if ok, since := testutil.ToFloat64(s.metrics.successful), testutil.ToFloat64(s.metrics.timestamp); ok != 0 || since != 1000 {
		t.Errorf("the last reload's success is %v, at %v", ok, since)
	}
	if got := testutil.ToFloat64(s.metrics.rules.WithLabelValues("portcullis", stateRunning)); got != 2 {
		t.Errorf("%v rules are shown as running", got)
	}
	s.awaitFailure("a.yaml:9:24") // the user is told as after a reload
	if got := s.log.count("level=ERROR"); got != 1 {
		t.Errorf("it was logged %d times", got)
	}

	// Another start, and another one: what is kept stays.
	s.stop()
	s = i.start()
	s.expectRules(all...)

	i.write("a.yaml", ruleText("c"))
	s.awaitRules("b", "c", "shell-of-elastic")
	if got := testutil.ToFloat64(s.metrics.successful); got != 1 {
		t.Errorf("after it was mended the last reload's success is %v", got)
	}
}

// What was deleted while the files were right does not come back with others that are wrong.
func TestADeletedRuleDoesNotComeBack(t *testing.T) {
	t.Parallel()
	i := install(t)
	i.write("a.yaml", ruleText("a"))
	i.write("b.yaml", ruleText("b"))
	s := i.start()
	if err := os.Remove(filepath.Join(i.rules, "b.yaml")); err != nil {
		t.Fatal(err)
	}
	s.awaitRules("a")
	s.stop()
	i.write("a.yaml", broken("a"))
	s = i.start()
	defer s.stop()
	s.expectRules("a")
}

// A start with right files takes them, whatever is kept.
func TestRightFilesWinOverKeptOnes(t *testing.T) {
	t.Parallel()
	i := install(t)
	i.write("a.yaml", ruleText("a"))
	i.lived()
	i.write("a.yaml", ruleText("b"))
	s := i.start()
	defer s.stop()
	s.expectRules("b")
}

func TestAMountedConfigMapIsKept(t *testing.T) {
	t.Parallel()
	i := install(t)
	mount(t, i.rules, "..2026_08_22_1", map[string]string{"a.yaml": ruleText("a")})
	i.lived()
	mount(t, i.rules, "..2026_08_22_2", map[string]string{"a.yaml": broken("a"), "b.yaml": ruleText("b")})
	s := i.start()
	defer s.stop()
	s.expectRules("a")
	mount(t, i.rules, "..2026_08_22_3", map[string]string{"a.yaml": ruleText("c"), "b.yaml": ruleText("b")})
	s.awaitRules("b", "c")
}

// Each reason for which a running server refuses files is one to start with the last good ones.
func TestWhateverIsWrongAtAStart(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		change func(*installation, *Options)
		want   string
	}{
		"broken file of Elastic's": {func(i *installation, _ *Options) { write(t, filepath.Join(i.elastic, "x.toml"), "[rule") }, "x.toml"},
		"folder gone":              {func(_ *installation, o *Options) { o.Sources.Directories = []string{"/does/not/exist"} }, "/does/not/exist"},
		"named rule gone":          {func(_ *installation, o *Options) { o.Sources.Named = []string{"nobody"} }, "rules[nobody]"},
		"too much": {func(i *installation, o *Options) {
			o.MaxBytes = 1000
			write(t, filepath.Join(i.rules, "large.yaml"), strings.Repeat("#", 1000))
		}, "more than 1000 bytes"},
		"name twice": {func(i *installation, _ *Options) { write(t, filepath.Join(i.rules, "z.yaml"), ruleText("a")) }, `rule "a"`},
		"not accepted": {func(i *installation, o *Options) {
			write(t, filepath.Join(i.rules, "z.yaml"), ruleText("z"))
			o.Accept = func(rules *rule.Set) error {
				if rules.Get("z") != nil {
					return errors.New("no room for z")
				}
				return nil
			}
		}, "no room for z"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := install(t)
			i.write("a.yaml", ruleText("a"))
			i.lived()
			o := i.options()
			row.change(i, &o)
			i.change = func(p *Options) { *p = o }
			s := i.start()
			defer s.stop()
			s.awaitFailure(row.want)
			s.expectRules("a")
		})
	}
}

func TestAStartWithoutGoodRulesFails(t *testing.T) {
	t.Parallel()
	lived := func(t *testing.T, i *installation) {
		t.Helper()
		i.write("a.yaml", ruleText("a"))
		i.lived()
	}
	for name, row := range map[string]struct {
		before func(*testing.T, *installation)
		want   string
	}{
		"the first one": {func(*testing.T, *installation) {}, ""},
		"nothing is to be kept": {func(t *testing.T, i *installation) {
			lived(t, i)
			i.change = func(o *Options) { o.Keep = "" }
		}, ""},
		"kept file is cut": {func(t *testing.T, i *installation) {
			lived(t, i)
			if err := os.Truncate(i.kept, 100); err != nil {
				t.Fatal(err)
			}
		}, "rules that were in force before cannot be used either: " + "{kept}: unexpected EOF"},
		"kept file is rubbish": {func(t *testing.T, i *installation) { write(t, i.kept, "rubbish, and enough of it") }, "{kept}: gzip"},
		"kept rules are not right": {func(t *testing.T, i *installation) {
			folders := []folder{{place: place{portcullis, "/r"}, files: []source.File{{Name: "/r/k.yaml", Text: broken("k")}}}}
			if err := archive(i.kept).save(folders, time.Unix(1, 0)); err != nil {
				t.Fatal(err)
			}
		}, "rules in /r: \n/r/k.yaml:9:24: error"},
		"kept by another version": {func(t *testing.T, i *installation) {
			folders := []folder{{place: place{"sigma", "/r"}, files: []source.File{{Name: "/r/k.yaml"}}}}
			if err := archive(i.kept).save(folders, time.Unix(1, 0)); err != nil {
				t.Fatal(err)
			}
		}, `"/r/k.yaml" is of kind "sigma"`},
		"kept file is too large": {func(t *testing.T, i *installation) {
			lived(t, i)
			i.change = func(o *Options) { o.MaxBytes = 10 }
		}, "{kept}: more than 10 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := install(t)
			row.before(t, i)
			i.write("a.yaml", broken("a"))
			_, err := New(i.options())
			want := strings.ReplaceAll(row.want, "{kept}", i.kept)
			if err == nil || !strings.Contains(err.Error(), want) || (strings.Contains(err.Error(), "either") != (want != "")) {
				t.Errorf("error is %v, want one about %q", err, want)
			}
		})
	}
}

// Bytes, names and origin are what they were.
func TestArchiveIsExact(t *testing.T) {
	t.Parallel()
	a := archive(filepath.Join(t.TempDir(), "kept.tar.gz"))
	want := []folder{
		{place: place{kind: shipped}, files: []source.File{{Name: "s.yaml", Text: "s"}}},
		{place: place{portcullis, "/etc/r"}, files: []source.File{
			{Name: "/etc/r/a\\b.yaml", Text: "\xff\x00\r\n"}, {Name: "/etc/r/" + strings.Repeat("é", 200) + ".yaml"}, {Name: "/etc/r/c=1\n.yml", Text: "c"},
		}},
		{place: place{elastics, "/etc/r"}, files: []source.File{{Name: "/etc/r/../x.toml", Text: strings.Repeat("x", source.MaxFile)}}},
	}
	at := time.Unix(1_700_000_000, 0)
	for range 2 {
		if err := a.save(want, at); err != nil {
			t.Fatal(err)
		}
	}
	got, since, err := a.load(defaultMaxBytes)
	if err != nil || !since.Equal(at) {
		t.Fatalf("since %s, %v", since, err)
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(folder{}, place{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if entries, err := os.ReadDir(filepath.Dir(string(a))); err != nil || len(entries) != 1 {
		t.Errorf("there are %v, %v", entries, err)
	}
}

// The shipped rules are kept, too: those of another version may have names that files have.
func TestShippedRulesAreKept(t *testing.T) {
	t.Parallel()
	folders, _, err := read(Sources{Shipped: true}.places(), defaultMaxBytes)
	if err != nil {
		t.Fatal(err)
	}
	a := archive(filepath.Join(t.TempDir(), "kept.tar.gz"))
	if err = a.save(folders, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	kept, _, err := a.load(defaultMaxBytes)
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := load(kept, field.New())
	if err != nil || loaded.Set.Get("exec-into-pod") == nil {
		t.Errorf("%v", err)
	}
}

// What cannot be kept is told, tried again, and leaves nothing old behind.
func TestRulesThatCannotBeKept(t *testing.T) {
	t.Parallel()
	i := install(t)
	i.write("a.yaml", ruleText("a"))
	i.lived()
	if err := os.Mkdir(i.kept+".new", 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(i.kept+".new", "x"), "in the way")
	log := &logged{}
	o := i.options()
	o.Logger = slog.New(slog.NewTextHandler(log, nil))
	b, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	u := &user{outcomes: make(chan error, 10)}
	b.keep()
	b.follow(u)
	if _, err := os.Stat(i.kept); !errors.Is(err, os.ErrNotExist) || testutil.ToFloat64(b.metrics.kept) != 0 {
		t.Errorf("what was kept before is there: %v", err)
	}
	if got := log.count("rules in force are not kept"); got != 1 {
		t.Errorf("it was logged %d times", got)
	}
	if err := os.RemoveAll(i.kept + ".new"); err != nil {
		t.Fatal(err)
	}
	b.follow(u)
	if kept, _, err := archive(i.kept).load(defaultMaxBytes); err != nil || len(kept) != 1 || testutil.ToFloat64(b.metrics.kept) != 1 {
		t.Errorf("kept %+v, %v", kept, err)
	}
}
