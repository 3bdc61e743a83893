package ruletest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/eql/diag"
	"github.com/portcullis-dev/portcullis/eql/token"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/rule"
	"github.com/portcullis-dev/portcullis/rule/document"
)

// file is one document of a test file, read. It is complete only if there were
// no problems.
type file struct {
	path  string
	rules *rule.Set
	tests []test
}

// test is one test.
type test struct {
	name   string
	line   int
	start  time.Time
	mode   rule.Mode
	events []happening
	want   []expectation
}

// happening is an event of a test.
type happening struct {
	// id is its own, or its number in the list, from 1.
	id    string
	at    time.Duration
	event *event.Event
}

// timestamp is the field that is an event's time.
const timestamp = "@timestamp"

// defaultStart is when tests begin that do not say.
func defaultStart() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

// parser reads the documents of one test file.
type parser struct {
	*document.Reader
	schema *field.Schema
	rules  *rule.Set
	// templates are those of the document that is read, by name.
	templates map[string]document.Value
	// told are the problems of events that are noted already: a template's
	// mistake would show in every event that extends it.
	told map[string]bool
}

// parse reads a test file. Its rules are looked up among all.
func parse(text *token.File, schema *field.Schema, rules *rule.Set) ([]*file, diag.List) {
	p := &parser{Reader: document.NewReader(text), schema: schema, rules: rules, told: map[string]bool{}}
	var files []*file
	for root := range p.Documents(Shape()) {
		files = append(files, p.file(root))
	}
	return files, p.Problems()
}

func (p *parser) file(root document.Value) *file {
	f := &file{path: p.File().Name(), rules: p.subjects(root.Field("rules"))}
	p.templates = map[string]document.Value{}
	for name, v := range root.Field("templates").Entries() {
		p.templates[name.Text()] = v
	}
	for _, v := range root.Field("templates").Entries() {
		p.chain(v) // for what is wrong with it, used or not
	}
	names := map[string]bool{}
	for _, v := range root.Field("tests").Elements() {
		name := v.Field("name")
		if names[name.Text()] {
			name.Problem("another test has that name")
		}
		names[name.Text()] = true
		f.tests = append(f.tests, p.test(v, f.rules))
	}
	return f
}

// subjects are the rules that a file is about.
func (p *parser) subjects(list document.Value) *rule.Set {
	var found []*rule.Rule
	seen := map[string]bool{}
	for _, v := range list.Elements() {
		r := p.rules.Get(v.Text())
		switch {
		case seen[v.Text()]:
			v.Problem("is there twice")
		case r == nil:
			v.Problem("there is no rule %q%s", v.Text(), meant(v.Text(), p.ruleNames()))
		default:
			found = append(found, r)
		}
		seen[v.Text()] = true
	}
	if list.Exists() && len(seen) == 0 {
		list.Problem("name the rules that the file tests")
	}
	set, err := rule.NewSet(found...)
	if err != nil { // They are of one set, and each is there once.
		list.Problem("%v", err)
	}
	return set
}

func (p *parser) ruleNames() []string {
	names := make([]string, 0, p.rules.Len())
	for _, r := range p.rules.All() {
		names = append(names, r.Name)
	}
	return names
}

// chain is an event or template and all that it extends, the outermost first. It
// is nil if one of them is wrong.
func (p *parser) chain(v document.Value) []document.Value {
	chain := []document.Value{v}
	for {
		name := chain[0].Field("extends")
		if !name.Exists() {
			return chain
		}
		template, ok := p.templates[name.Text()]
		switch {
		case !ok:
			name.Problem("there is no template %q%s", name.Text(), meant(name.Text(), slices.Sorted(maps.Keys(p.templates))))
			return nil
		case slices.ContainsFunc(chain, func(link document.Value) bool { return link.Path() == template.Path() }):
			name.Problem("the template extends itself")
			return nil
		case len(chain) == maxChain:
			name.Problem("more than %d templates extend one another", maxChain)
			return nil
		}
		chain = append([]document.Value{template}, chain...)
	}
}

func (p *parser) test(v document.Value, rules *rule.Set) test {
	t := test{
		name: v.Field("name").Text(), line: v.Line(), start: defaultStart(), mode: rule.Observe,
	}
	if start := v.Field("start"); start.Exists() {
		t.start = start.Time()
	}
	if mode := v.Field("mode"); mode.Exists() {
		t.mode = rule.Mode(mode.Text())
	}
	ids := map[string]bool{}
	for i, e := range v.Field("events").Elements() {
		h := happening{id: fmt.Sprint(i + 1), at: e.Field("at").Duration()}
		if id := e.Field("id"); id.Exists() {
			h.id = id.Text()
		}
		if ids[h.id] {
			e.Field("id").Problem("another event of the test has that id")
		}
		ids[h.id] = true
		h.event = p.event(e, t.start.Add(h.at))
		t.events = append(t.events, h)
	}
	for _, d := range v.Field("detections").Elements() {
		t.want = append(t.want, p.expectation(d, rules, ids))
	}
	return t
}

// event puts an event together. Nil after a mistake.
func (p *parser) event(v document.Value, at time.Time) *event.Event {
	chain := p.chain(v)
	if chain == nil {
		return nil
	}
	fields := tree{}
	for _, link := range chain {
		set := link.Field("fields")
		set.Field(timestamp).Problem("is the test's start and the event's at, and cannot be set")
		fields.merge(set)
	}
	fields[timestamp] = at.Format(time.RFC3339Nano)
	e, err := p.schema.Event(fields.document())
	for _, problem := range each(err) {
		p.wrongEvent(v, chain, problem)
	}
	return e
}

// wrongEvent notes a problem of an event at the field that it is about: that of
// the event itself or of a template.
func (p *parser) wrongEvent(v document.Value, chain []document.Value, problem error) {
	name, message := subject(problem)
	place := v
	for _, link := range chain {
		if key, ok := fieldOf(link.Field("fields"), name); ok {
			place = key
		}
	}
	if !strings.HasSuffix(place.Path(), name) {
		message = problem.Error()
	}
	told := fmt.Sprint(place.Span(), message)
	if !p.told[told] {
		p.told[told] = true
		p.Add(diag.Diagnostic{File: p.File(), Span: place.Span(), Message: place.Path() + ": " + message})
	}
}

// subject is the field that a problem of an event is about, which it begins
// with, and the rest of it.
func subject(problem error) (name, message string) {
	var unknown *field.UnknownFieldError
	if errors.As(problem, &unknown) {
		return unknown.Name, problem.Error()
	}
	name, message, _ = strings.Cut(problem.Error(), ": ")
	return name, message
}

// fieldOf finds the key under which a field is set: its own, or that of the
// object which it is part of.
func fieldOf(fields document.Value, name string) (found document.Value, ok bool) {
	for key, inner := range fields.Entries() {
		if key.Text() == name {
			return key, true
		}
		if rest, part := strings.CutPrefix(name, key.Text()+"."); part {
			found, ok = key, true
			if deeper, there := fieldOf(inner, rest); there {
				return deeper, true
			}
		}
	}
	return found, ok
}

// each returns the errors that were joined.
func each(err error) []error {
	var many interface{ Unwrap() []error }
	if errors.As(err, &many) {
		return many.Unwrap()
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

func (p *parser) expectation(v document.Value, rules *rule.Set, ids map[string]bool) expectation {
	var want expectation
	name := v.Field("rule")
	switch {
	case name.Exists() && rules.Get(name.Text()) == nil:
		name.Problem("the file is not about a rule %q", name.Text())
	case !name.Exists() && rules.Len() > 1:
		v.Problem("say the rule, since the file is about several")
	case !name.Exists() && rules.Len() == 1:
		want = append(want, property{"rule", rules.All()[0].Name})
	}
	for key, value := range v.Entries() {
		switch k := key.Text(); k {
		case "at":
			want = append(want, property{k, value.Duration().String()})
		case "events":
			for _, id := range value.Elements() {
				if !ids[id.Text()] {
					id.Problem("no event of the test has the id %q", id.Text())
				}
			}
			want = append(want, property{k, listed(value.Texts())})
		default:
			want = append(want, property{k, value.Text()})
		}
	}
	return want.sorted()
}
