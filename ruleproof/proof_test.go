package ruleproof

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/portcullis-dev/portcullis/config"
	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/eql"
	"github.com/portcullis-dev/portcullis/eql/diag"
	"github.com/portcullis-dev/portcullis/rule"
	"github.com/portcullis-dev/portcullis/rule/elastic"
	"github.com/portcullis-dev/portcullis/rule/witness"
)

func prover(t testing.TB) (*Prover, *field.Schema) {
	t.Helper()
	schema := field.New()
	p, err := New(Options{Schema: schema, Language: eql.Options{UnknownFields: diag.Warning}})
	if err != nil {
		t.Fatal(err)
	}
	return p, schema
}

// TestShapesAreEvents: what every event is said to have is what it has.
func TestShapesAreEvents(t *testing.T) {
	t.Parallel()
	p, schema := prover(t)
	for _, s := range shapes(schema) {
		names := slices.Clone(s.Always)
		for name := range s.Fixed {
			names = append(names, name)
		}
		for name := range s.Usual {
			names = append(names, name)
		}
		for _, name := range names { // A record knows the fields that were looked up before.
			if _, ok := schema.Lookup(name); !ok {
				t.Errorf("there is no field %s", name)
			}
		}
		r, err := p.read(s.Usual)
		if err != nil {
			t.Fatalf("%s: %v", s.Name, err)
		}
		for _, name := range names {
			known, _ := schema.Lookup(name)
			if !s.Has(name) || r.Field(known.Slot).IsMissing() {
				t.Errorf("%s does not have %s", s.Name, name)
			}
		}
		for name, fixed := range s.Fixed {
			known, _ := schema.Lookup(name)
			if got := r.Field(known.Slot).Text(); got != fixed {
				t.Errorf("%s: %s is %q, not %q", s.Name, name, got, fixed)
			}
		}
	}
}

// TestEveryFieldBelongsToAnEvent: a field that no shape has is one that no rule
// can be proven by.
func TestEveryFieldBelongsToAnEvent(t *testing.T) {
	t.Parallel()
	_, schema := prover(t)
	for _, f := range schema.Fields() {
		if !slices.ContainsFunc(shapes(schema), func(s witness.Shape) bool { return s.Has(f.Name) }) {
			t.Errorf("no event has %s, which %s fills", f.Name, f.Source)
		}
	}
}

// TestEveryFieldCanFire: a rule about any one field runs.
func TestEveryFieldCanFire(t *testing.T) {
	t.Parallel()
	p, schema := prover(t)
	for _, f := range schema.Fields() {
		query := "any where " + f.Name + " != null"
		if strings.ContainsAny(f.Name, "-/") {
			query = "any where `" + f.Name + "` != null"
		}
		r, found := rule.Rule{Name: "x", Query: query}.Compile(rule.Options{Schema: schema})
		if err := found.Err(); err != nil {
			t.Fatal(err)
		}
		if v := p.Rule(r); !v.Runs {
			t.Errorf("%s: %s", query, v.Why)
		}
	}
}

// TestCollection: all of the rules in the folder like the public one run.
func TestCollection(t *testing.T) {
	t.Parallel()
	p, schema := prover(t)
	found, err := elastic.Load(filepath.Join("..", "rule", "elastic", "testdata", "collection"), rule.Options{Schema: schema})
	if err != nil {
		t.Fatal(err)
	}
	set, err := found.Set()
	if err != nil || set.Len() == 0 {
		t.Fatal(set.Len(), err)
	}
	for _, r := range set.All() {
		if v := p.Rule(r); !v.Runs || v.Shown == 0 {
			t.Errorf("%s: %s (%d variations)", r.Name, v.Why, v.Shown)
		}
	}
}

// TestShippedRules: so do those that come with the server.
func TestShippedRules(t *testing.T) {
	t.Parallel()
	p, schema := prover(t)
	set, err := rule.Load(config.Rules(), rule.Options{Schema: schema})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range set.All() {
		if v := p.Rule(r); !v.Runs {
			t.Errorf("%s: %s", r.Name, v.Why)
		}
	}
}

// TestWhatEventsUsuallyHave: rules about events that lack what most have run too.
func TestWhatEventsUsuallyHave(t *testing.T) {
	t.Parallel()
	p, schema := prover(t)
	for _, query := range []string{
		`any where event.category == null and process.name == "x"`,
		`any where event.category != "process" and event.action != "exec" and event.dataset == null and process.name == "x"`,
		`any where event.action == null and kubernetes.audit.verb == "get" and kubernetes.audit.user.username == null`,
		`any where event.outcome == "failure" and kubernetes.audit.responseStatus.status == "Failure" and event.action == "list"`,
		`process where process.parent.name == null and process.parent.args == null and container.id == null and user.id == "0"`,
		`file where file.extension == null and process.parent.command_line == "a b" and file.directory like "/*/x"`,
		`any where kubernetes.audit.requestObject.spec.containers.image == "x" and kubernetes.audit.requestObject.spec.hostPID == true`,
		`any where orchestrator.resource.label == "app:web" and container.image.tag like "1.*" and orchestrator.namespace != "default"`,
		`any where cidrMatch(source.ip, "10.0.0.0/8") and kubernetes.audit.user.extra.scopes == "a" and user_agent.original : "KUBECTL*"`,
	} {
		r, found := rule.Rule{Name: "x", Query: query}.Compile(rule.Options{Schema: schema})
		if err := found.Err(); err != nil {
			t.Fatal(err)
		}
		if v := p.Rule(r); !v.Runs {
			t.Errorf("%s: %s", query, v.Why)
		}
	}
}

func TestRulesThatDoNotRun(t *testing.T) {
	t.Parallel()
	p, schema := prover(t)
	for query, want := range map[string]string{
		`process where process.pe.name == "x"`:                                               "there is no field process.pe.name",
		`process where process.name == "x" and kubernetes.audit.verb == "get"`:               "a process event does not have the field kubernetes.audit.verb",
		`any where host.os.type == "windows"`:                                                `host.os.type == "windows"`,
		`process where process.name == "x" and process.name == "y"`:                          "no value of process.name was found",
		`sequence by file.path [file where true] [any where kubernetes.audit.verb == "get"]`: "an audit event does not have the field file.path",
	} {
		file := "[rule]\nname = 'x'\ntype = 'eql'\ndescription = 'x'\nseverity = 'low'\nrisk_score = 1\nquery = '''" + query + "'''"
		found, err := elastic.LoadFS(fstest.MapFS{"x.toml": {Data: []byte(file)}}, "", rule.Options{Schema: schema})
		if err != nil || found.Files[0].Rule == nil {
			t.Fatalf("%s: %v %v", query, err, found)
		}
		if v := p.Rule(found.Files[0].Rule); v.Runs || !strings.Contains(v.Why, want) {
			t.Errorf("%s: runs %v, %s; want %s", query, v.Runs, v.Why, want)
		}
	}
}

// TestAnEngineThatGetsItWrongIsFound: what runs is not what the query says. A
// proof that believed the query would not notice.
func TestAnEngineThatGetsItWrongIsFound(t *testing.T) {
	t.Parallel()
	p, schema := prover(t)
	for program, row := range map[string]struct{ query, want string }{
		`process where process.name == "x"`: {`process where process.name == "x" and process.pid == 7`, "it fires without process.pid == 7"},
		`any where process.name == "x"`:     {`process where process.name == "x"`, `it fires without event.category == "process"`},
		`process where process.name == "y"`: {`process where process.name == "x"`, "it does not fire for the events that were made for it"},
		`sequence by container.id [any where process.pid == 1] [any where process.pid == 2]`: {
			`sequence by container.id with maxspan=1s [any where process.pid == 1] [any where process.pid == 2]`, "it fires with the last event after maxspan"},
		`sequence with maxspan=1s [any where process.pid == 1] [any where process.pid == 2]`: {
			`sequence by container.id with maxspan=1s [any where process.pid == 1] [any where process.pid == 2]`, "it fires with another key in step 1"},
		`sequence with maxspan=1s [any where process.pid == 1] [any where process.pid == 2] until [any where process.pid == 4]`: {
			`sequence with maxspan=1s [any where process.pid == 1] [any where process.pid == 2] until [any where process.pid == 3]`, "it fires although until ends it"},
	} {
		r, found := rule.Rule{Name: "x", Query: program}.Compile(rule.Options{Schema: schema})
		if err := found.Err(); err != nil {
			t.Fatal(err)
		}
		r.Query = row.query
		if v := p.Rule(r); v.Runs || !strings.HasPrefix(v.Why, row.want) {
			t.Errorf("%s for %s: runs %v, %q; want %q", program, row.query, v.Runs, v.Why, row.want)
		}
	}
}
