package eql_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-dev/portcullis/eql"
	"github.com/portcullis-dev/portcullis/eql/ast"
	"github.com/portcullis-dev/portcullis/eql/diag"
	"github.com/portcullis-dev/portcullis/eql/eqltest"
	"github.com/portcullis-dev/portcullis/eql/parse"
	"github.com/portcullis-dev/portcullis/eql/program"
	"github.com/portcullis-dev/portcullis/eql/token"
	"github.com/portcullis-dev/portcullis/eql/value"
)

func schema() eqltest.Schema {
	fields := make([]value.Field, 0, 32)
	fields = append(fields, []value.Field{
		{Name: "process.interactive", Type: value.Boolean},
		{Name: "process.entry_leader.same_as_process", Type: value.Boolean},
		{Name: "process.pid", Type: value.Number},
		{Name: "source.ip", Type: value.IP, Many: true},
		{Name: "orchestrator.resource.name", Type: value.Reference},
		{Name: "kubernetes.audit.user.extra.authentication.kubernetes.io/pod-name", Type: value.Reference},
	}...)
	for _, name := range []string{
		"event.category", "event.type", "event.action", "event.dataset", "host.os.type", "container.id", "process.name",
		"process.args", "process.parent.name", "process.entry_leader.entry_meta.type", "file.path", "user.name",
		"kubernetes.audit.stage", "kubernetes.audit.verb", "kubernetes.audit.level", "kubernetes.audit.requestURI",
		"kubernetes.audit.objectRef.resource", "kubernetes.audit.objectRef.subresource",
		"kubernetes.audit.objectRef.namespace", "kubernetes.audit.objectRef.name",
		"kubernetes.audit.annotations.authorization_k8s_io/decision",
	} {
		fields = append(fields, value.Field{Name: name, Many: true})
	}
	return eqltest.NewSchema(fields...)
}

// TestRules compiles the rules of testdata, which use what real rules use, and
// holds them against the events that each must match and must not.
func TestRules(t *testing.T) {
	texts := value.Strings
	shell := map[string]value.Value{
		"event.category": texts([]string{"process"}), "event.type": texts([]string{"start"}),
		"event.action": texts([]string{"fork", "exec"}), "host.os.type": value.String("linux"),
		"container.id": value.String("0f3b"), "process.name": value.String("dash"),
		"process.args": texts([]string{"dash", "-c", "curl"}), "process.interactive": value.Bool(true),
		"process.entry_leader.entry_meta.type": value.String("container"),
		"process.entry_leader.same_as_process": value.Bool(true),
		"orchestrator.resource.name":           value.Ref("web-0", "uid:1"),
	}
	request := map[string]value.Value{
		"event.dataset":                                                     value.String("kubernetes.audit_logs"),
		"kubernetes.audit.stage":                                            value.String("ResponseComplete"),
		"kubernetes.audit.verb":                                             value.String("create"),
		"kubernetes.audit.level":                                            value.String("Metadata"),
		"kubernetes.audit.objectRef.resource":                               value.String("pods"),
		"kubernetes.audit.objectRef.subresource":                            value.String("exec"),
		"kubernetes.audit.objectRef.namespace":                              value.String("shop"),
		"kubernetes.audit.objectRef.name":                                   value.String("web-0"),
		"kubernetes.audit.requestURI":                                       value.String("/api/v1/namespaces/shop/pods/web-0/exec?command=sh&stdin=true"),
		"kubernetes.audit.annotations.authorization_k8s_io/decision":        value.String("forbid"),
		"kubernetes.audit.user.extra.authentication.kubernetes.io/pod-name": value.Ref("renamed", "uid:1"),
	}
	with := func(event map[string]value.Value, name string, v value.Value) value.Record {
		changed := map[string]value.Value{}
		for k, old := range event {
			changed[k] = old
		}
		changed[name] = v
		return schema().Event(changed)
	}
	opened := map[string]value.Value{
		"event.category": texts([]string{"file"}), "event.action": value.String("open"), "host.os.type": value.String("linux"),
		"container.id": value.String("0f3b"), "process.interactive": value.Bool(true),
		"file.path":                  value.String("/var/run/secrets/kubernetes.io/serviceaccount/token"),
		"orchestrator.resource.name": value.Ref("web-0", "uid:1"),
	}
	for file, tc := range map[string]struct{ matches, misses []value.Record }{
		"interactive-shell.eql": {
			[]value.Record{schema().Event(shell)},
			[]value.Record{with(shell, "process.interactive", value.Bool(false)), with(shell, "container.id", value.Missing()), schema().Event(request)},
		},
		"exec-into-pod.eql": {
			[]value.Record{schema().Event(request)},
			[]value.Record{
				with(request, "kubernetes.audit.objectRef.namespace", value.String("backup")),
				with(request, "kubernetes.audit.objectRef.subresource", value.Missing()), schema().Event(shell),
			},
		},
		"api-request-after-tool.eql": {
			[]value.Record{schema().Event(shell), schema().Event(request)},
			[]value.Record{with(shell, "process.args", value.String("which")), with(request, "kubernetes.audit.annotations.authorization_k8s_io/decision", value.String("allow"))},
		},
		"token-then-request.eql": {
			[]value.Record{schema().Event(opened), schema().Event(request)},
			[]value.Record{with(opened, "file.path", value.String("/etc/passwd")), with(request, "kubernetes.audit.stage", value.String("RequestReceived"))},
		},
	} {
		t.Run(file, func(t *testing.T) {
			p := compileFile(t, filepath.Join("testdata", file))
			for i, s := range p.Stages() {
				if !s.Match(tc.matches[i]) {
					t.Errorf("stage %d does not match %v", i, tc.matches[i])
				}
				for _, miss := range tc.misses {
					if s.Match(miss) {
						t.Errorf("stage %d matches %v", i, miss)
					}
				}
			}
			if p.IsSequence() {
				joined(t, p, tc.matches)
			}
		})
	}
}

// joined checks that the stages' events have a key in common.
func joined(t *testing.T, p *program.Program, events []value.Record) {
	t.Helper()
	first, _ := p.Stages()[0].Keys(events[0], nil)
	second, _ := p.Stages()[1].Keys(events[1], nil)
	if diff := cmp.Diff(first, second); diff != "" || len(first) != 1 {
		t.Errorf("keys differ (-first +second):\n%s", diff)
	}
}

func compileFile(t *testing.T, path string) *program.Program {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("read rule: %v", err)
	}
	p, diags := eql.Compile(path, string(text), schema(), eql.Options{})
	if len(diags) > 0 {
		t.Errorf("something is said about a good rule:\n%s", diags.Render())
	}
	if p == nil {
		t.FailNow()
	}
	return p
}

func TestCompileReports(t *testing.T) {
	for query, want := range map[string]string{
		`process where process.name = "sh"`:          "r.eql:1:28: error: = does not compare",
		`process where proces.name == "sh"`:          "r.eql:1:15: error: unknown field proces.name",
		`process where process.name == "s*"`:         "r.eql:1:31: warning: == takes * literally",
		`sequence [any where true] [any where true]`: "r.eql:1:1: warning: sequence without maxspan",
	} {
		p, diags := eql.Compile("r.eql", query, schema(), eql.Options{})
		if len(diags) != 1 || !strings.HasPrefix(diags[0].String(), want) {
			t.Errorf("%s: reported %v, want %s", query, diags, want)
		}
		if (p == nil) != diags.HasErrors() {
			t.Errorf("%s: program %v together with %v", query, p, diags)
		}
	}
}

func TestOptionsArePassedOn(t *testing.T) {
	if p, _ := eql.Compile("", "any where true", schema(), eql.Options{Limits: parse.Limits{Source: 5}}); p != nil {
		t.Error("the limit of the source is ignored")
	}
	p, diags := eql.Compile("", `any where nobody == "x" or nobody == null`, schema(), eql.Options{UnknownFields: diag.Warning})
	if p == nil || len(diags) != 2 {
		t.Fatalf("unknown fields are not warnings:\n%s", diags.Render())
	}
	if !p.Stages()[0].Match(schema().Event(nil)) {
		t.Error("an unknown field is not missing")
	}
}

func seedsFor(f *testing.F, add func(string)) {
	f.Helper()
	files, err := filepath.Glob("testdata/*.eql")
	if err != nil || len(files) == 0 {
		f.Fatalf("find rules: %v, %v", files, err)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatalf("read rule: %v", err)
		}
		add(string(text))
	}
	for _, query := range []string{
		`any where process.pid + 1 * -2 % 3 == 4.5 or not (length(process.name) / 0 == 1)`,
		`any where concat(process.name, "x", process.pid) : "*\u{e4}?" and process.args regex~ ("[a-z]+", "x@")`,
		"sequence by ?user.name, `file.path` with maxspan=5m [any where true] ![file where null] [process where true] with runs=3 until [any where false]",
		`any where source.ip in ("10.0.0.0/8", "::1") and cidrMatch(source.ip, "fd00::/8")`,
		`sample by a [x where true] | head 5`, `any where """raw \ " """ == user.name // comment`,
		`any where number(process.args, 16) == 5 and substring(process.name, -3, 2) in~ ("A", "b")`,
	} {
		add(query)
	}
}

// FuzzParse: a tree or errors, never both; and a tree prints as what parses to it.
func FuzzParse(f *testing.F) {
	seedsFor(f, func(s string) { f.Add(s) })
	f.Fuzz(func(t *testing.T, query string) {
		q, diags := parse.Query(token.NewFile("", query), parse.Limits{})
		if (q == nil) != diags.HasErrors() {
			t.Fatalf("tree %v together with %v", q, diags)
		}
		_ = diags.Render()
		if q == nil {
			return
		}
		text := ast.Print(q)
		again, diags := parse.Query(token.NewFile("", text), parse.Limits{Source: 1 << 20, Depth: 1000})
		if again == nil {
			t.Fatalf("%s\nprints as\n%s\nwhich does not parse:\n%s", query, text, diags.Render())
		}
		if !eqltest.SameTree(q, again) {
			t.Fatalf("%s\nprints as\n%s\nwhich is another query, that prints as\n%s", query, text, ast.Print(again))
		}
	})
}

// FuzzCompile: a program or errors, never both; its canonical form compiles to a
// program that matches the same; and a set of it, too.
func FuzzCompile(f *testing.F) {
	seedsFor(f, func(s string) { f.Add(s, "sh", int64(5)) })
	f.Fuzz(func(t *testing.T, query, text string, n int64) {
		p, diags := eql.Compile("", query, schema(), eql.Options{UnknownFields: diag.Warning})
		if (p == nil) != diags.HasErrors() {
			t.Fatalf("program %v together with %v", p, diags)
		}
		if p == nil {
			return
		}
		q, _ := parse.Query(token.NewFile("", query), parse.Limits{})
		printed, diags := eql.Compile("", ast.Print(q), schema(), eql.Options{UnknownFields: diag.Warning, Limits: parse.Limits{Depth: 1000}})
		if printed == nil {
			t.Fatalf("%s\ncompiles, but its canonical form does not:\n%s", query, diags.Render())
		}
		event := schema().Event(map[string]value.Value{
			"event.category": value.String("process"), "process.name": value.String(text), "process.pid": value.Int(n),
			"process.args": value.Strings([]string{text, "-c", query}), "source.ip": value.String(text),
			"process.interactive": value.Bool(n > 0), "orchestrator.resource.name": value.Ref("web", text),
		})
		memo := program.NewSet(p.Stages(), program.SetOptions{}).NewMemo()
		memo.Reset(event)
		for i, s := range p.Stages() {
			got := s.Match(event)
			if other := printed.Stages()[i].Match(event); got != other {
				t.Fatalf("%s\nmatches: %v, its canonical form: %v", s, got, other)
			}
			keys, _ := s.Keys(event, nil)
			if len(keys) > program.MaxKeys {
				t.Fatalf("%d keys", len(keys))
			}
			// In a set, an event matches only if it has the fields to join by.
			if hit := memo.Match(i); hit && !got || got && len(keys) > 0 && !hit {
				t.Fatalf("%s\nmatches: %v with %d keys, in a set: %v", s, got, len(keys), hit)
			}
		}
	})
}
