package rulefmt

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/portcullis-dev/portcullis/eql/ast"
	"github.com/portcullis-dev/portcullis/eql/diag"
	"github.com/portcullis-dev/portcullis/eql/format"
	"github.com/portcullis-dev/portcullis/eql/parse"
	"github.com/portcullis-dev/portcullis/eql/token"
	"github.com/portcullis-dev/portcullis/rule"
)

// language is one of the two kinds of text that are laid out.
type language struct {
	format func(*token.File, parse.Limits) (string, diag.List)
	parse  func(*token.File, parse.Limits) (ast.Node, diag.List)
}

func queries() language {
	return language{format.Query, func(f *token.File, l parse.Limits) (ast.Node, diag.List) {
		q, diags := parse.Query(f, l)
		return q, diags
	}}
}

func conditions() language {
	return language{format.Condition, func(f *token.File, l parse.Limits) (ast.Node, diag.List) {
		e, diags := parse.Expr(f, l)
		return e, diags
	}}
}

func (l language) parses(text string) bool {
	_, diags := l.parse(token.NewFile("", text), parse.Limits{})
	return !diags.HasErrors()
}

// same reports whether two texts parse to the same tree: one that prints alike.
func (l language) same(a, b string) bool {
	x, diagsX := l.parse(token.NewFile("", a), parse.Limits{})
	y, diagsY := l.parse(token.NewFile("", b), parse.Limits{})
	return !diagsX.HasErrors() && !diagsY.HasErrors() && ast.Print(x) == ast.Print(y)
}

// query lays out a text that is one query.
func query(name string, text []byte) ([]byte, diag.List) {
	out, diags := format.Query(token.NewFile(name, string(text)), parse.Limits{})
	if diags.HasErrors() {
		return nil, diags
	}
	return []byte(out + "\n"), nil
}

// embedded is a text in a YAML file.
type embedded struct {
	language
	// key is the name of the field, value what is written behind it.
	key, value *yaml.Node
	// flow says that it stands in {…} or […].
	flow bool
}

// document lays out all queries and conditions of a rule file. What is no rule is
// left alone.
func document(name string, text []byte) ([]byte, diag.List) {
	file := token.NewFile(name, string(text))
	found, err := embeddedTexts(text)
	if err != nil {
		return nil, diag.List{{File: file, Message: "not YAML: " + strings.TrimPrefix(err.Error(), "yaml: ")}}
	}
	var edits []edit
	var problems diag.List
	for _, e := range found {
		edit, diags := layOut(file, e)
		problems = append(problems, diags...)
		edits = append(edits, edit...)
	}
	if problems.HasErrors() {
		problems.Sort()
		return nil, problems
	}
	formatted := apply(file.Text(), edits)
	if !unchanged(found, formatted) {
		// Not reached by any file known; better a complaint than another rule.
		return nil, diag.List{{File: file, Message: "the file is written in a way that cannot be laid out without changing what it says", Hint: "write the query as a block: query: |"}}
	}
	return []byte(formatted), nil
}

// embeddedTexts returns the queries and conditions of all rules of a file.
func embeddedTexts(text []byte) ([]embedded, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("the file is not valid UTF-8")
	}
	var found []embedded
	decoder := yaml.NewDecoder(strings.NewReader(string(text)))
	for {
		var document yaml.Node
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		if len(document.Content) == 1 {
			found = append(found, textsOfRule(document.Content[0])...)
		}
	}
}

func textsOfRule(root *yaml.Node) []embedded {
	if _, kind := field(root, "kind"); kind == nil || kind.Value != rule.Kind {
		return nil
	}
	_, spec := field(root, "spec")
	var found []embedded
	flow := isFlow(root) || isFlow(spec)
	if key, value := field(spec, "query"); isText(value) {
		found = append(found, embedded{queries(), key, value, flow})
	}
	_, exceptions := field(spec, "exceptions")
	if exceptions == nil || exceptions.Kind != yaml.SequenceNode {
		return found
	}
	for _, exception := range exceptions.Content {
		if key, value := field(exception, "where"); isText(value) {
			found = append(found, embedded{conditions(), key, value, flow || isFlow(exceptions) || isFlow(exception)})
		}
	}
	return found
}

// field returns a field of a mapping, nil if there is none.
func field(n *yaml.Node, name string) (key, value *yaml.Node) {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i], n.Content[i+1]
		}
	}
	return nil, nil
}

func isFlow(n *yaml.Node) bool { return n != nil && n.Style&yaml.FlowStyle != 0 }

// isText reports whether a node holds a text that can be laid out: one without
// anchor or tag.
func isText(n *yaml.Node) bool {
	return n != nil && n.Kind == yaml.ScalarNode && n.ShortTag() == "!!str" && n.Style&yaml.TaggedStyle == 0 &&
		n.Anchor == "" && strings.TrimSpace(n.Value) != ""
}

// edit replaces a part of a file.
type edit struct {
	span token.Span
	text string
}

func apply(text string, edits []edit) string {
	slices.SortFunc(edits, func(a, b edit) int { return int(b.span.Start - a.span.Start) })
	for _, e := range edits {
		text = text[:e.span.Start] + e.text + text[e.span.End:]
	}
	return text
}

// unchanged reports whether a file still has the same queries and conditions. (What
// is around them was not touched.)
func unchanged(before []embedded, formatted string) bool {
	after, err := embeddedTexts([]byte(formatted))
	return err == nil && slices.EqualFunc(before, after, func(a, b embedded) bool { return a.same(a.value.Value, b.value.Value) })
}

// layOut lays out one text of a file. It returns no edit if it is as it should be.
func layOut(file *token.File, e embedded) ([]edit, diag.List) {
	w := locate(file, e)
	if w == nil {
		return nil, nil // written in a way that is better left alone
	}
	formatted, diags := e.format(token.NewFile(file.Name(), w.text), parse.Limits{})
	if diags.HasErrors() {
		for i, d := range diags {
			diags[i] = w.move(file, d)
		}
		return nil, diags
	}
	change, ok := w.replace(formatted, e)
	if !ok || file.Slice(change.span) == change.text {
		return nil, nil
	}
	return []edit{change}, nil
}

// move moves a diagnostic from a text to where that stands in the file.
func (w *written) move(file *token.File, d diag.Diagnostic) diag.Diagnostic {
	start, ok := w.place(d.Span.Start)
	end, okEnd := w.place(d.Span.End)
	if !ok || !okEnd {
		at := token.NewFile("", w.text).Position(d.Span.Start)
		d.Message = fmt.Sprintf("line %d, column %d of it: %s", at.Line, at.Column, d.Message)
		start, end = w.span.Start, w.span.Start
	}
	d.File, d.Span = file, token.Span{Start: start, End: end}
	return d
}
