package check_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portcullis-dev/portcullis/eql/ast"
	"github.com/portcullis-dev/portcullis/eql/check"
	"github.com/portcullis-dev/portcullis/eql/diag"
	"github.com/portcullis-dev/portcullis/eql/eqltest"
	"github.com/portcullis-dev/portcullis/eql/parse"
	"github.com/portcullis-dev/portcullis/eql/token"
	"github.com/portcullis-dev/portcullis/eql/value"
)

var rewrite = flag.Bool("rewrite", false, "rewrite golden files; commit the diff only if you understand it")

func schema() eqltest.Schema {
	return eqltest.NewSchema(
		value.Field{Name: "event.category", Many: true},
		value.Field{Name: "event.action", Many: true},
		value.Field{Name: "host.os.type"},
		value.Field{Name: "process.name"},
		value.Field{Name: "process.args", Many: true},
		value.Field{Name: "process.pid", Type: value.Number},
		value.Field{Name: "process.interactive", Type: value.Boolean},
		value.Field{Name: "container.id"},
		value.Field{Name: "source.ip", Type: value.IP, Many: true},
		value.Field{Name: "orchestrator.resource.name", Type: value.Reference},
		value.Field{Name: "user.extra.authentication.kubernetes.io/pod-name", Type: value.Reference},
		value.Field{Name: "kubernetes.audit.objectRef.name"},
		value.Field{Name: "my-field", Type: value.Number},
	)
}

func run(t testing.TB, name, query string, opts check.Options) (*check.Info, diag.List) {
	t.Helper()
	file := token.NewFile(name, query)
	q, diags := parse.Query(file, parse.Limits{})
	if q == nil {
		t.Fatalf("parse %s:\n%s", query, diags.Render())
	}
	return check.Query(file, q, schema(), opts)
}

// TestMessages compares what is said about the queries of testdata, which are
// separated by empty lines, with what was said before.
func TestMessages(t *testing.T) {
	files, err := filepath.Glob("testdata/*.eql")
	if err != nil || len(files) == 0 {
		t.Fatalf("find queries: %v, %v", files, err)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatalf("read queries: %v", err)
			}
			var got strings.Builder
			for _, query := range strings.Split(strings.TrimSpace(string(text)), "\n\n") {
				_, diags := run(t, "", query, check.Options{})
				if len(diags) == 0 {
					t.Errorf("nothing is said about\n%s", query)
				}
				got.WriteString(diags.Render() + "\n")
			}
			eqltest.Golden(t, strings.TrimSuffix(path, ".eql")+".txt", got.String(), *rewrite)
		})
	}
}

// TestSilence: nothing is said about queries that are as they should be.
func TestSilence(t *testing.T) {
	for _, query := range []string{
		`process where process.name == "sh"`,
		`any where process.args in ("-c", "-i") and not process.name like~ ("*SH", "x?")`,
		// Each condition is evaluated on its own, so that together they may use any number of fields.
		`any where not (event.action == "a" or host.os.type == "b" or process.name == "c" or process.args == "d" or
			process.pid == 1 or process.interactive or container.id == "e" or source.ip == "::1" or orchestrator.resource.name == "f")`,
		`any where string(event.action == "a" and host.os.type == "b" and process.name == "c" and process.args == "d" and
			process.pid == 1 and process.interactive and container.id == "e" and source.ip == "::1" and orchestrator.resource.name == "f") == "true"`,
		`any where source.ip == "10.0.0.0/8" or source.ip in ("::1", "fd00::/8")`,
		`any where cidrMatch(source.ip, "10.0.0.0/8", "192.168.0.0/16")`,
		`any where process.pid + 1 > 5 and length(process.name) < 3`,
		`any where process.interactive and not process.interactive == false`,
		`any where ?no.such.field == "x" and ?no.other > 5`,
		`any where process.pid - 1 == 5`,
		"any where `my-field` == 5",
		`any where process.name == null and null != process.pid`,
		`any where startsWith(process.name, process.args)`,
		`any where process.name regex "[a-z]+[$]?"`,
		`any where number(process.name, null) == 5`,
		"sequence with maxspan=1m [process where true] by orchestrator.resource.name [any where true] by `user.extra.authentication.kubernetes.io/pod-name`",
		`sequence by container.id with maxspan=1m [process where true] by process.pid ![file where true] by process.pid until [any where true] by process.pid`,
		`sequence by ?nobody with maxspan=1m [process where true] with runs=5`,
		`sequence by container.id with maxspan=1s [process where true] with runs=1 [file where true]`,
		`sequence by container.id with maxspan=24h [process where true] [file where true]`,
	} {
		if _, diags := run(t, "", query, check.Options{}); len(diags) > 0 {
			t.Errorf("%s\n%s", query, diags.Render())
		}
	}
}

func TestUnknownFieldsAsWarnings(t *testing.T) {
	info, diags := run(t, "", `any where no.such.field == "x"`, check.Options{UnknownFields: diag.Warning})
	if diags.HasErrors() || len(diags) != 1 {
		t.Fatalf("want one warning, got\n%s", diags.Render())
	}
	if len(info.Fields) != 0 {
		t.Errorf("the unknown field was resolved: %v", info.Fields)
	}
}

func TestInfo(t *testing.T) {
	info, diags := run(t, "", `process where process.name regex ("a.*", "b") and startsWith(process.name, "a")`, check.Options{})
	if len(diags) > 0 {
		t.Fatal(diags.Render())
	}
	if info.Category.Name != check.CategoryField {
		t.Errorf("category is read from %q", info.Category.Name)
	}
	if len(info.Fields) != 2 || len(info.Functions) != 1 || len(info.Regexes) != 1 {
		t.Errorf("resolved %d fields, %d functions, %d expressions; want 2, 1, 1",
			len(info.Fields), len(info.Functions), len(info.Regexes))
	}
	for _, re := range info.Regexes {
		if !re.MatchString("abc") || !re.MatchString("b") || re.MatchString("bc") {
			t.Errorf("%s does not match what it should", re)
		}
	}
}

func TestNoCategories(t *testing.T) {
	file := token.NewFile("", "process where true")
	q, _ := parse.Query(file, parse.Limits{})
	_, diags := check.Query(file, q, eqltest.NewSchema(), check.Options{})
	if !diags.HasErrors() {
		t.Error("a category is accepted though events have none")
	}
}

func TestCondition(t *testing.T) {
	for query, sound := range map[string]bool{
		`process.name == "sh"`: true, `process.name`: false, `process.pid == "x"`: false, `true`: true,
	} {
		file := token.NewFile("", query)
		e, diags := parse.Expr(file, parse.Limits{})
		if e == nil {
			t.Fatal(diags.Render())
		}
		if _, diags := check.Condition(file, e, schema(), check.Options{}); diags.HasErrors() == sound {
			t.Errorf("%s: sound should be %v\n%s", ast.Print(e), sound, diags.Render())
		}
	}
}

// TestFindingsAreBounded: not all of many are told, but how many there are; and
// warnings hide no error.
func TestFindingsAreBounded(t *testing.T) {
	_, diags := run(t, "", "any where "+strings.Repeat(`process.name == "*" or `, 50)+`process.name == 1`, check.Options{Findings: 5})
	if len(diags.Warnings()) != 6 || len(diags.Errors()) != 1 {
		t.Errorf("%d warnings and %d errors, want 6 and 1:\n%s", len(diags.Warnings()), len(diags.Errors()), diags.Render())
	}
	if last := diags[len(diags)-1].Message; last != "45 more warnings of this query are not shown" {
		t.Errorf("the last says %q", last)
	}
}
