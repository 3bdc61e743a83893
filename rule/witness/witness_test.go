package witness

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portcullis-dev/portcullis/eql"
	"github.com/portcullis-dev/portcullis/eql/diag"
	"github.com/portcullis-dev/portcullis/eql/eqltest"
	"github.com/portcullis-dev/portcullis/eql/value"
)

func worldSchema() eqltest.Schema {
	fields := []value.Field{
		{Name: "event.category", Many: true}, {Name: "host.os.type"},
		{Name: "process.name"}, {Name: "process.executable"}, {Name: "process.args", Many: true}, {Name: "process.command_line"},
		{Name: "process.args_count", Type: value.Number}, {Name: "process.pid", Type: value.Number}, {Name: "load", Type: value.Number},
		{Name: "process.interactive", Type: value.Boolean}, {Name: "container.privileged", Type: value.Boolean},
		{Name: "file.path"}, {Name: "file.name"}, {Name: "file.directory"}, {Name: "file.extension"},
		{Name: "source.ip", Type: value.IP, Many: true}, {Name: "user.groups", Many: true}, {Name: "user.id"},
		{Name: "pod", Type: value.Reference}, {Name: "pod.uid"}, {Name: "caller", Type: value.Reference}, {Name: "caller.uid"},
		{Name: "verb"}, {Name: "audit.verb"}, {Name: "uri"},
	}
	return eqltest.NewSchema(fields...)
}

// worldShapes are processes and requests. A document is one or the other.
func worldShapes() []Shape {
	request := []string{"caller", "caller.uid", "verb", "audit.verb", "uri", "source.ip", "user.groups", "event.category"}
	return []Shape{
		{
			Name: "a process event", Has: func(f string) bool { return !slices.Contains(request[:6], f) },
			Usual: map[string]any{"process.name": "sh", "event.category": []string{"process"}, "pod": "web", "pod.uid": "u-1"},
			Fixed: map[string]any{"host.os.type": "linux"}, Always: []string{"process.interactive"},
			Formats: map[string]string{"user.id": `[0-9]{1,9}`},
			Parts: map[string]PartOf{
				"file.name": {"file.path", Base}, "file.directory": {"file.path", Directory}, "file.extension": {"file.path", Extension},
			},
			Joined:   map[string]string{"process.command_line": "process.args"},
			Counted:  map[string]string{"process.args_count": "process.args"},
			Identity: map[string]string{"pod": "pod.uid"},
		},
		{
			Name: "a request", Has: func(f string) bool { return slices.Contains(request, f) },
			Usual: map[string]any{"uri": "/api", "caller": "web", "caller.uid": "u-1"},
			Same:  map[string]string{"audit.verb": "verb"}, Identity: map[string]string{"caller": "caller.uid"},
		},
	}
}

// worldRecord is an implementation of the two shapes that shares nothing with the package.
func worldRecord(schema eqltest.Schema) func(Document) (value.Record, error) {
	return func(d Document) (value.Record, error) {
		values := map[string]value.Value{}
		text := func(name string) string { s, _ := d[name].(string); return s }
		for name, v := range d {
			switch v := v.(type) {
			case string:
				if v == "" {
					return nil, fmt.Errorf("%s is empty", name)
				}
				values[name] = value.String(v)
			case []string:
				values[name] = value.Strings(v)
			case bool:
				values[name] = value.Bool(v)
			case int64:
				values[name] = value.Int(v)
			case float64:
				values[name] = value.Float(v)
			}
		}
		for _, derived := range []string{"file.name", "file.directory", "file.extension", "process.command_line", "process.args_count", "audit.verb", "host.os.type"} {
			if _, ok := d[derived]; ok {
				return nil, fmt.Errorf("%s follows from other fields", derived)
			}
		}
		set := func(name, v string) {
			if v != "" {
				values[name] = value.String(v)
			}
		}
		if _, isRequest := d["uri"]; isRequest {
			set("audit.verb", text("verb"))
		} else {
			args, _ := d["process.args"].([]string)
			set("process.command_line", strings.Join(args, " "))
			values["process.args_count"] = value.Int(int64(len(args)))
			set("host.os.type", "linux")
			if _, ok := d["process.interactive"]; !ok {
				return nil, errors.New("process.interactive is missing")
			}
			if p := text("file.path"); p != "" {
				dir, base := path.Split(p)
				if dir != "/" {
					dir = strings.TrimSuffix(dir, "/")
				}
				set("file.directory", dir)
				set("file.name", base)
				if ext := path.Ext(base); ext != base {
					set("file.extension", strings.TrimPrefix(ext, "."))
				}
			}
		}
		for name, id := range map[string]string{"pod": "pod.uid", "caller": "caller.uid"} {
			values[name] = value.Ref(text(name), text(id))
		}
		return schema.Event(values), nil
	}
}

var start = time.Date(2026, 8, 21, 12, 0, 0, 0, time.UTC) //nolint:gochecknoglobals // a constant

func generator(t testing.TB) (*Generator, eqltest.Schema) {
	t.Helper()
	schema := worldSchema()
	g, err := New(Options{
		Schema: schema, Language: eql.Options{UnknownFields: diag.Warning}, Shapes: worldShapes(),
		Record: worldRecord(schema), Start: start,
	})
	if err != nil {
		t.Fatal(err)
	}
	return g, schema
}

// matches reports whether a query for single events matches the one event.
func matches(t testing.TB, schema eqltest.Schema, query string, events []Document) bool {
	t.Helper()
	p, found := eql.Compile("", query, schema, eql.Options{UnknownFields: diag.Warning})
	if err := found.Err(); err != nil {
		t.Fatal(err)
	}
	r, err := worldRecord(schema)(without(events[0], "@timestamp"))
	if err != nil {
		t.Fatal(err)
	}
	return p.Stages()[0].Match(r)
}

func without(d Document, field string) Document {
	out := Document{}
	for k, v := range d {
		if k != field {
			out[k] = v
		}
	}
	return out
}

// Each query gets an event, and for each of its conditions one that fails it
// alone. The numbers are how many misses there are, those that could not fail
// alone, and the conditions that no event can fail.
func TestSingleEvents(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 300)
	for query, want := range map[string][3]int{
		`process where true`:                                                                                                                                     {1, 0, 0},
		`any where process.name == "bash"`:                                                                                                                       {1, 0, 0},
		`process where process.name == "bash" and process.pid == 5`:                                                                                              {3, 0, 0},
		`any where process.name != "sh"`:                                                                                                                         {1, 0, 0},
		`any where process.name in ("a", "b") and process.name != "a"`:                                                                                           {2, 0, 0},
		`any where process.name in~ ("BASH", "ZSH") and not process.name == "BASH"`:                                                                              {2, 0, 0},
		`any where process.name not in ("sh", "a", "b")`:                                                                                                         {1, 0, 0},
		`any where process.name like "k?be*ctl" and process.name like "*-*"`:                                                                                     {2, 0, 0},
		`any where process.name like ("x*", "*y") and not process.name like "x*"`:                                                                                {2, 0, 0},
		`any where process.name like~ "*SSL*" and not process.name like "*SSL*"`:                                                                                 {2, 0, 0},
		`any where process.name : ("Ab*", "cD") and not process.name : "ab*"`:                                                                                    {2, 0, 0},
		`any where process.name regex "[a-f]{3}[0-9]+x?" and process.name != "aaa0"`:                                                                             {2, 0, 0},
		`any where process.name regex~ ("ab.", "cd#")`:                                                                                                           {1, 0, 0},
		`any where process.name regex """(foo|bar)\.[^.]*""" and not process.name like "foo*" and process.name like "*z*z*z*"`:                                   {3, 0, 0},
		`any where process.args == "-c" and process.args == "id" and not process.args == "x"`:                                                                    {3, 0, 0},
		`any where process.args in ("a", "b") and not process.args like "a*"`:                                                                                    {2, 0, 0},
		`any where process.args != null and process.name != null and process.executable == null`:                                                                 {3, 0, 0},
		`any where process.executable like "*" and process.executable like "?*"`:                                                                                 {2, 2, 0},
		`any where process.name like "*" and ?no.such.field == null`:                                                                                             {1, 0, 0},
		`any where process.interactive == true and container.privileged == false`:                                                                                {2, 0, 0},
		`any where process.interactive and not container.privileged`:                                                                                             {2, 0, 0},
		`any where process.interactive != true and container.privileged != true`:                                                                                 {2, 0, 0},
		`any where process.pid > 5 and process.pid < 7`:                                                                                                          {2, 0, 0},
		`any where process.pid >= 100 and process.pid != 100 and process.pid not in (101, 102)`:                                                                  {3, 0, 0},
		`any where load > 0.5 and load < 0.9`:                                                                                                                    {2, 0, 0},
		`any where 5 < process.pid and "sh" != process.name`:                                                                                                     {2, 0, 0},
		`any where host.os.type == "linux" and process.name == "a"`:                                                                                              {1, 0, 1},
		`any where (process.name == "a" and process.pid == 1) or (process.name == "b" and process.pid == 2)`:                                                     {1, 0, 0},
		`any where (process.name == "a" or process.pid == 2) and not (process.name == "a" and process.pid == 1) and process.pid != 2`:                            {3, 0, 0},
		`any where not (process.name == "a" or not (process.pid == 3 or process.pid == 4))`:                                                                      {1, 0, 0},
		`any where (process.name == "a") == true and (process.pid == 1) == false`:                                                                                {2, 0, 0},
		`any where process.command_line like "*curl*http*" and process.args == "-k"`:                                                                             {2, 0, 0},
		`any where process.command_line like "sh -c *" and process.args == "x y" and not process.command_line like "*z*"`:                                        {3, 0, 0},
		`any where process.command_line == "a b c" and process.args == "b"`:                                                                                      {2, 0, 0},
		`any where process.command_line == "a b c" and process.args == "b c"`:                                                                                    {2, 0, 0},
		`any where process.args == "-i" and process.args_count == 3`:                                                                                             {2, 0, 0},
		`any where process.args_count >= 2 and not process.args like "?"`:                                                                                        {2, 0, 0},
		`any where not process.command_line == null`:                                                                                                             {1, 0, 0},
		`any where file.path like "/etc/*" and file.name in ("passwd", "shadow") and not file.path == "/etc/passwd"`:                                             {3, 0, 0},
		`any where file.extension in ("sh", "py") and file.directory == "/tmp" and not file.name like "x*"`:                                                      {3, 0, 0},
		`any where file.name != null and file.extension == null and file.directory like "/a/?"`:                                                                  {3, 0, 0},
		`any where file.name == ".bashrc" and file.extension == null`:                                                                                            {2, 1, 0},
		`any where file.directory == "/"`:                                                                                                                        {1, 0, 0},
		`any where user.id != "0" and user.id like "*5"`:                                                                                                         {2, 1, 0},
		`any where verb == "get" and audit.verb in ("get", "list") and uri like "/api/v1/namespaces/*/pods/*/exec?command=*"`:                                    {3, 1, 0},
		`any where source.ip == "10.0.0.0/8" and source.ip != "10.0.0.0/9" and user.groups == "system:masters"`:                                                  {3, 0, 0},
		`any where cidrMatch(source.ip, "10.1.0.0/16", "fd00::/8") and not cidrMatch(source.ip, "10.1.0.0/17", "fd00::/9")`:                                      {2, 0, 0},
		`any where source.ip in ("10.1.2.3", "::1") and source.ip not in ("10.1.2.3")`:                                                                           {2, 0, 0},
		`any where startsWith(process.name, "ba") and endsWith~(process.name, "SH") and stringContains(process.name, "x")`:                                       {3, 0, 0},
		`any where match(process.name, "a+b") and not match~(process.name, "AB") and wildcard(process.name, "a?*")`:                                              {3, 1, 0},
		`any where length(process.name) > 20 and process.name like "*abc*"`:                                                                                      {2, 0, 0},
		`any where length(process.name) == 3 and length(process.executable) <= 1 and length(process.executable) >= 1`:                                            {3, 1, 0},
		`any where length(process.command_line) > 900`:                                                                                                           {1, 0, 0},
		`any where length(process.name) > 1050`:                                                                                                                  {1, 0, 0},
		`any where substring(process.name, 0, 3) == "abc" and process.name != "abc"`:                                                                             {2, 0, 0},
		`any where substring(process.name, 3) == "abc"`:                                                                                                          {1, 0, 0},
		`any where indexOf(process.name, "lo") == 4`:                                                                                                             {1, 0, 0},
		`any where between(process.name, "<", ">") == "in"`:                                                                                                      {1, 0, 0},
		`any where concat(process.name, ":", process.pid) == "sh:7"`:                                                                                             {1, 0, 0},
		`any where string(process.pid) == "77"`:                                                                                                                  {1, 0, 0},
		`any where number(process.name) + 1 == 43`:                                                                                                               {1, 0, 0},
		`any where process.pid % 7 == 3 and process.pid * 2 > 40 and process.pid - 1 != 23`:                                                                      {3, 0, 0},
		`any where add(process.pid, 1) == 10 and subtract(process.pid, 1) == 8`:                                                                                  {2, 2, 0},
		`any where process.name > "m" and process.name < "n"`:                                                                                                    {2, 0, 0},
		`any where process.name == "` + long + `" and not process.args : ("*` + long + `*")`:                                                                     {2, 0, 0},
		`any where process.name like "*ö?*Ü*" and process.name like~ "*Ü*é*"`:                                                                                    {2, 0, 0},
		`any where process.name == "a\"b\\c\n" and process.args == """raw \d"""`:                                                                                 {2, 0, 0},
		`any where process.args like ("*a*", "*b*") and process.args like ("c*", "*d") and process.args regex "[x-z]+" and not process.args in ("xx", "c", "a")`: {4, 0, 0},
	} {
		t.Run(query[:min(len(query), 60)], func(t *testing.T) {
			t.Parallel()
			g, schema := generator(t)
			got, err := g.Query("", query)
			if err != nil {
				t.Fatalf("%s: %v", query, err)
			}
			if !matches(t, schema, query, got.Hit) {
				t.Errorf("%s\ndoes not match %v", query, got.Hit)
			}
			together := 0
			for _, m := range got.Misses {
				if matches(t, schema, query, m.Events) {
					t.Errorf("%s\n%s: matches %v", query, m.But, m.Events)
				}
				if !m.Alone {
					together++
				}
			}
			if n := [3]int{len(got.Misses), together, len(got.Given)}; n != want || len(got.Open) > 0 {
				t.Errorf("%s\nmisses, not alone, given: %v, want %v; open %v\nhit %v\nmisses %v", query, n, want, got.Open, got.Hit, got.Misses)
			}
		})
	}
}
