package document

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/portcullis-dev/portcullis/eql/token"
)

// everything is a shape with a field of every kind.
func everything() *Shape {
	return Object(
		Required("name", Pattern(8, `^[a-z]+$`, "must be small letters"), "Its name."),
		Optional("title", Text(10), "Its title."),
		Optional("colour", OneOf("red", "green"), "Its colour."),
		Optional("count", Integer(-1, 9), "How many."),
		Optional("flag", Boolean(), "Whether."),
		Optional("from", Time(), "Since when."),
		Optional("span", Duration(time.Second, time.Hour), "How long."),
		Optional("list", List(Text(3), 2), "Words."),
		Optional("map", Map(Integer(0, 1), 2), "Numbers by name."),
		Optional("any", Anything(), "What you like."),
		Optional("either", AnyOf(Optional("a", Boolean(), "One."), Optional("b", Boolean(), "Two.")), "At least one of them."),
		Optional("inner", Object(Required("a", Text(1), "One."), Optional("b", Text(1), "Two.")), "More."),
	)
}

func read(text string, shape *Shape) ([]Value, *Reader) {
	r := NewReader(token.NewFile("f.yaml", text))
	var all []Value
	for v := range r.Documents(shape) {
		all = append(all, v)
	}
	return all, r
}

const good = `name: abc
title: A title
colour: red
count: -1
flag: true
from: 2026-08-22
span: 1m30s
list: [one, two]
map: {x: 1, y.z: 0}
any: {a.b: [1, 2.5, true, null, text, 2026-08-22], c: {}}
inner: {a: x}
`

func TestEveryKindIsRead(t *testing.T) {
	t.Parallel()
	all, r := read(good, everything())
	if len(all) != 1 || len(r.Problems()) > 0 {
		t.Fatalf("%d documents, problems %v", len(all), r.Problems())
	}
	v := all[0]
	got := []any{
		v.Field("name").Text(), v.Field("title").Text(), v.Field("colour").Text(), v.Field("count").Integer(),
		v.Field("flag").Boolean(), v.Field("from").Time(), v.Field("span").Duration(), v.Field("list").Texts(),
		v.Field("map").Field("y.z").Integer(), v.Field("any").Any(), v.Field("inner").Field("a").Text(),
		v.Field("inner").Field("a").Path(), v.Field("list").Elements()[1].Path(), v.Field("inner").Line(),
	}
	want := []any{
		"abc", "A title", "red", -1, true, time.Date(2026, 8, 22, 0, 0, 0, 0, time.UTC), 90 * time.Second, []string{"one", "two"},
		0, map[string]any{"a.b": []any{int64(1), 2.5, true, nil, "text", "2026-08-22"}, "c": map[string]any{}}, "x",
		"inner.a", "list[1]", 11,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAbsentValuesReadAsNothing(t *testing.T) {
	t.Parallel()
	all, _ := read("name: abc", everything())
	v := all[0].Field("inner").Field("a")
	if v.Exists() || v.Text() != "" || v.Integer() != 0 || v.Boolean() || !v.Time().IsZero() || v.Duration() != 0 ||
		v.Elements() != nil || v.Texts() != nil || v.Any() != nil || v.Line() != 0 || v.Path() != "" || v.Span() != (token.Span{}) {
		t.Errorf("an absent value reads as %+v", v)
	}
	v.Problem("nobody") // has no place to be about
	if _, ok := v.Locate()(0); ok {
		t.Error("an absent value has a place")
	}
}

// mistakes are documents with one each, and what is told of it. Those in which
// the structure is right are beyond a JSON schema.
func mistakes() map[string]struct {
	text, want string
	beyond     bool
} {
	type row = struct {
		text, want string
		beyond     bool
	}
	with := func(field string) string { return "name: abc\n" + field }
	return map[string]row{
		"no mapping":        {text: "[a]", want: "1:1: error: must be a mapping with the fields name, title,"},
		"unknown field":     {text: with("titel: x"), want: `2:1: error: unknown field "titel", known are name,`},
		"field twice":       {text: with("title: x\ntitle: y"), want: "3:1: error: title: is there twice", beyond: true},
		"missing":           {text: "title: x", want: "1:1: error: name: is missing"},
		"empty":             {text: with("title:"), want: "2:7: error: title: is empty"},
		"pattern":           {text: "name: ABC", want: "1:7: error: name: must be small letters"},
		"text too long":     {text: with("title: x2345678901"), want: "2:8: error: title: has 11 bytes, at most 10"},
		"blank":             {text: with("title: ' '"), want: "2:8: error: title: is empty"},
		"text is number":    {text: with("title: 1"), want: "2:8: error: title: must be a text"},
		"text is list":      {text: with("title: [a]"), want: "2:8: error: title: must be a text"},
		"word":              {text: with("colour: blue"), want: "2:9: error: colour: must be one of red, green"},
		"number too large":  {text: with("count: 10"), want: "2:8: error: count: must be a whole number from -1 to 9"},
		"number is text":    {text: with("count: '1'"), want: "2:8: error: count: must be a whole number"},
		"number is broken":  {text: with("count: 1.5"), want: "2:8: error: count: must be a whole number"},
		"flag":              {text: with("flag: maybe"), want: "2:7: error: flag: must be true or false"},
		"time":              {text: with("from: soon"), want: "2:7: error: from: must be a date"},
		"no such day":       {text: with("from: 2026-02-31"), want: "2:7: error: from: must be a date", beyond: true},
		"duration":          {text: with("span: 1d"), want: "2:7: error: span: must be a duration such as 1h, from 1s to 1h"},
		"duration number":   {text: with("span: 1"), want: "2:7: error: span: must be a duration"},
		"duration too long": {text: with("span: 2h"), want: "2:7: error: span: must be a duration", beyond: true},
		"no list":           {text: with("list: a"), want: "2:7: error: list: must be a list"},
		"list too long":     {text: with("list: [a, b, c]"), want: "2:7: error: list: has 3 elements, at most 2"},
		"element":           {text: with("list: [abcd]"), want: "2:8: error: list[0]: has 4 bytes"},
		"no map":            {text: with("map: [a]"), want: "2:6: error: map: must be a mapping"},
		"map too long":      {text: with("map: {a: 1, b: 1, c: 1}"), want: "2:6: error: map: has 3 entries, at most 2"},
		"entry":             {text: with("map: {a: 2}"), want: "2:10: error: map.a: must be a whole number"},
		"key twice":         {text: with("map: {a: 1, a: 1}"), want: "2:13: error: map.a: is there twice", beyond: true},
		"key twice, deep":   {text: with("any: [{b: {a: 1, a: 1}}]"), want: "2:18: error: any[0].b.a: is there twice", beyond: true},
		"key is no word":    {text: with("any: {[a]: 1}"), want: "2:7: error: any: a key must be a word", beyond: true},
		"none of several":   {text: with("either: {}"), want: "2:9: error: either: needs one of the fields a, b"},
		"deep missing":      {text: with("inner: {b: x}"), want: "2:8: error: inner.a: is missing"},
		"deep unknown":      {text: with("inner: {a: x, c: x}"), want: `2:15: error: inner: unknown field "c", known are a, b`},
		"alias":             {text: with("title: &x y"), want: "2:8: error: anchors and aliases are not supported", beyond: true},
		"no YAML":           {text: with("\ttitle: x"), want: "2:1: error: not YAML", beyond: true},
	}
}

func TestEveryMistakeIsToldInItsPlace(t *testing.T) {
	t.Parallel()
	for name, row := range mistakes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, r := read(row.text, everything())
			if n := len(r.Problems()); n != 1 {
				t.Fatalf("%d problems: %v", n, r.Problems())
			}
			if got := r.Problems()[0].String(); !strings.Contains(got, row.want) {
				t.Errorf("got %s, want %s", got, row.want)
			}
		})
	}
}

func TestAllMistakesAreToldAtOnceAndTheRestIsRead(t *testing.T) {
	t.Parallel()
	all, r := read("name: ABC\ntitle: fine\ncount: x\n---\nname: abc\nlist: [x, 1]\n", everything())
	if got := len(r.Problems()); got != 3 || len(all) != 2 {
		t.Fatalf("%d problems, %d documents: %v", got, len(all), r.Problems())
	}
	first, second := all[0], all[1]
	if first.Field("name").Exists() || first.Field("count").Exists() || first.Field("title").Text() != "fine" {
		t.Error("what is wrong must be absent, and the rest be there")
	}
	if got := second.Field("list").Texts(); !cmp.Equal([]string{"x"}, got) {
		t.Errorf("the list reads as %q", got)
	}
	second.Field("name").Problem("I have heard of %s", "it")
	if got := r.Problems()[3].String(); got != "f.yaml:5:7: error: name: I have heard of it" {
		t.Errorf("a caller's problem is told as %s", got)
	}
	if second.Field("name").Exists() {
		t.Error("what a caller finds wrong must be absent from then on")
	}
}

func TestHostileFilesCostLittle(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"unknown fields": strings.Repeat("? x\n", 100_000),
		"documents":      strings.Repeat("---\na: b\n", 50_000),
		"missing":        strings.Repeat("---\n{}\n", 50_000),
		"deep":           "any: " + strings.Repeat("[", 100_000),
		"keys":           "any: {" + strings.Repeat("a: 1, ", 100_000) + "}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, r := read(text, everything())
			if n := len(r.Problems()); n == 0 || n > maxProblems {
				t.Errorf("%d problems", n)
			}
		})
	}
}

// TestSchemaAgreesWithReader: the JSON schema, by another implementation of JSON
// schema than ours, accepts and refuses what the reader does.
func TestSchemaAgreesWithReader(t *testing.T) {
	t.Parallel()
	schema := compiled(t, everything())
	if err := schema.Validate(decoded(t, good)); err != nil {
		t.Errorf("the schema refuses what the reader takes: %v", err)
	}
	for name, row := range mistakes() {
		if row.beyond {
			continue
		}
		if schema.Validate(decoded(t, row.text)) == nil {
			t.Errorf("%s: the schema takes %q", name, row.text)
		}
	}
}

func compiled(t *testing.T, shape *Shape) *jsonschema.Schema {
	t.Helper()
	text, err := shape.Schema("Everything")
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err = c.AddResource("shape.json", parsed); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("shape.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// decoded is a document as an editor's validator sees it.
func decoded(t *testing.T, text string) any {
	t.Helper()
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(text), &n); err != nil {
		t.Fatal(err)
	}
	return plain(n.Content[0])
}

func TestTheSameShapeMakesTheSameSchema(t *testing.T) {
	t.Parallel()
	first, err := everything().Schema("Everything")
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		again, err := everything().Schema("Everything")
		if err != nil || !bytes.Equal(first, again) {
			t.Fatalf("the schema differs: %v", err)
		}
	}
}

func FuzzDocuments(f *testing.F) {
	f.Add(good)
	for _, row := range mistakes() {
		f.Add(row.text)
	}
	f.Add("name: |\n  abc\nany: >-\n  x\n  y\n")
	f.Fuzz(func(t *testing.T, text string) {
		all, r := read(text, everything())
		for _, d := range r.Problems() {
			if p := d.Position(); p.Line < 1 || p.Column < 1 || d.Span.Start > d.Span.End || int(d.Span.End) > len(text) {
				t.Fatalf("a problem is at %v, %v of %d bytes", p, d.Span, len(text))
			}
		}
		for _, v := range all {
			if !r.Problems().HasErrors() && !v.Field("name").Exists() {
				t.Fatal("a document without a name was taken")
			}
			walk(v)
		}
	})
}

func walk(v Value) {
	_ = fmt.Sprint(v.Any(), v.Text(), v.Boolean(), v.Time(), v.Duration(), v.Span())
	v.Locate()(0)
	for _, inner := range v.Entries() {
		walk(inner)
	}
	for _, inner := range v.Elements() {
		walk(inner)
	}
}
