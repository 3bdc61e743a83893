package witness

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/portcullis-dev/portcullis/eql"
	"github.com/portcullis-dev/portcullis/eql/ast"
	"github.com/portcullis-dev/portcullis/eql/check"
	"github.com/portcullis-dev/portcullis/eql/parse"
	"github.com/portcullis-dev/portcullis/eql/program"
	"github.com/portcullis-dev/portcullis/eql/token"
	"github.com/portcullis-dev/portcullis/eql/value"
)

// maxSteps bounds the comparisons that are looked at for one query.
const maxSteps = 20_000

// Options configure a Generator. All but Language are required.
type Options struct {
	// Schema is what queries are compiled with.
	Schema value.Schema
	// Language are the compiler's options.
	Language eql.Options
	// Shapes are the kinds of events that exist.
	Shapes []Shape
	// Record returns a document as the language reads it, or says why no event
	// can be like that. The record is used until the next call.
	Record func(document map[string]any) (value.Record, error)
	// Start is the time of a query's first event.
	Start time.Time
}

// Generator makes events for queries. It is for one goroutine.
type Generator struct {
	options Options
	shapes  []*shape
}

// New returns a Generator.
func New(o Options) (*Generator, error) {
	if o.Schema == nil || o.Record == nil || len(o.Shapes) == 0 {
		return nil, errors.New("witness options: Schema, Record and Shapes are required")
	}
	g := &Generator{options: o}
	for _, s := range o.Shapes {
		ready, err := newShape(s)
		if err != nil {
			return nil, fmt.Errorf("witness options: %w", err)
		}
		g.shapes = append(g.shapes, ready)
	}
	return g, nil
}

// Document is an event as a document of the Elastic Common Schema: names with
// dots, texts, lists of texts, numbers (int64 and float64) and booleans, and nil
// for what the event must not have.
type Document = map[string]any

// Result is what was made for a query.
type Result struct {
	// Hit are events that the query is for, in their order.
	Hit []Document
	// Misses are events that it is not for, each for one reason.
	Misses []Miss
	// Given are conditions that no such event can fail, since every event meets
	// them or those that join do; the compiled query fails without them.
	Given []string
	// Open are conditions that should be possible to fail, but no events were
	// found that do, and why.
	Open []Gap
}

// Miss are events like those of the hit, but for one thing.
type Miss struct {
	// But says what is different, such as: without process.name == "sh".
	But    string
	Events []Document
	// Alone is false where other conditions had to fail as well.
	Alone bool
}

// Gap is something that could not be shown.
type Gap struct{ Condition, Why string }

// Query makes events for a query. The error says why there are none, and is a
// *diag.QueryError if the query does not compile.
func (g *Generator) Query(name, source string) (*Result, error) {
	file := token.NewFile(name, source)
	tree, found := parse.Query(file, g.options.Language.Limits)
	if err := found.Err(); err != nil {
		return nil, err
	}
	info, found := check.Query(file, tree, g.options.Schema, check.Options{UnknownFields: g.options.Language.UnknownFields})
	if err := found.Err(); err != nil {
		return nil, err
	}
	steps, work := maxSteps, maxWork
	r := &run{
		Generator: g, stages: stagesOf(tree, info, program.New(tree, info)),
		query: &query{
			schema: g.options.Schema, info: info, slots: map[int]string{},
			conditions: map[ast.Expr]*program.Condition{}, steps: &steps, work: &work,
		},
	}
	for f, known := range info.Fields {
		r.slots[known.Slot] = f.Name
	}
	return r.result(tree)
}

// run is the work on one query.
type run struct {
	*Generator
	*query
	stages []*stage
}

// stage is one step of a sequence, or a query for single events.
type stage struct {
	// program says what the language thinks of an event.
	program *program.Stage
	// conditions must all hold, the category first.
	conditions []ast.Expr
	category   string
	by         []*ast.Field
	// runs is how often it stands in the sequence; missing says that it must not
	// happen, until that it ends the sequence.
	runs           int
	missing, until bool
}

// stagesOf returns the steps of a query, until last.
func stagesOf(tree *ast.Query, info *check.Info, p *program.Program) []*stage {
	sequence, ok := tree.Body.(*ast.Sequence)
	if !ok {
		s := newStage(tree.Body.(*ast.Filter), info)
		s.program = p.Stages()[0]
		return []*stage{s}
	}
	var stages []*stage
	at := 0
	for _, t := range sequence.Terms {
		s := newStage(t.Filter, info)
		s.by, s.missing = slices.Concat(sequence.By, t.By), t.Missing
		if t.Runs != nil {
			s.runs = int(t.Runs.Int)
		}
		s.program = p.Stages()[at]
		at += s.runs
		stages = append(stages, s)
	}
	if u := sequence.Until; u != nil {
		s := newStage(u.Filter, info)
		s.by, s.until, s.program = slices.Concat(sequence.By, u.By), true, p.Until()
		stages = append(stages, s)
	}
	return stages
}

func newStage(f *ast.Filter, info *check.Info) *stage {
	s := &stage{runs: 1, category: f.Category}
	if !f.Any {
		// The category as if it were a condition like the others.
		field := &ast.Field{Name: check.CategoryField}
		info.Fields[field] = info.Category
		s.conditions = append(s.conditions, &ast.Compare{X: field, Y: &ast.Literal{Kind: ast.Text, Text: f.Category}})
	}
	s.conditions = append(s.conditions, conjuncts(f.Where)...)
	return s
}

// conjuncts are the conditions that and joins at the top.
func conjuncts(e ast.Expr) []ast.Expr {
	all, ok := e.(*ast.Logical)
	if !ok || all.Op != ast.And {
		return []ast.Expr{e}
	}
	var out []ast.Expr
	for _, x := range all.X {
		out = append(out, conjuncts(x)...)
	}
	return out
}
