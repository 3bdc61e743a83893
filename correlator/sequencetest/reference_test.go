package sequencetest_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portcullis-dev/portcullis/correlator/sequencetest"
	"github.com/portcullis-dev/portcullis/eql"
	"github.com/portcullis-dev/portcullis/eql/ast"
	"github.com/portcullis-dev/portcullis/eql/parse"
	"github.com/portcullis-dev/portcullis/eql/program"
	"github.com/portcullis-dev/portcullis/eql/token"
	"github.com/portcullis-dev/portcullis/eql/value"
)

// reference is a slow and obvious implementation of sequences, from a query's text
// to its matches, written from the definition: all events are there, sorted by
// time. Of the real one it uses only what decides whether an event fulfils a
// condition.
type reference struct {
	schema  value.Schema
	terms   []*ast.Term // with runs is written out
	until   *ast.Term
	by      []*ast.Field
	maxSpan time.Duration
	stage   map[*ast.Term]*program.Stage
}

func newReference(t testing.TB, query string, schema value.Schema, maxSpan time.Duration) *reference {
	t.Helper()
	p, diags := eql.Compile("", query, schema, eql.Options{})
	if p == nil {
		t.Fatal(diags.Render())
	}
	tree, _ := parse.Query(token.NewFile("", query), parse.Limits{})
	s := tree.Body.(*ast.Sequence)
	r := &reference{schema: schema, until: s.Until, by: s.By, maxSpan: maxSpan, stage: map[*ast.Term]*program.Stage{}}
	if s.MaxSpan != nil {
		r.maxSpan = s.MaxSpan.Value
	}
	for _, term := range s.Terms {
		times := 1
		if term.Runs != nil {
			times = int(term.Runs.Int)
		}
		for range times {
			r.stage[term] = p.Stages()[len(r.terms)]
			r.terms = append(r.terms, term)
		}
	}
	if s.Until != nil {
		r.stage[s.Until] = p.Until()
	}
	return r
}

// hits says which of a key's terms an event fulfils.
type hits struct {
	event sequencetest.Event
	terms map[*ast.Term]bool
}

func tie(e sequencetest.Event) string { return cmp.Or(e.Request, e.Name) }

func before(a, b hits) bool {
	return a.event.Time.Before(b.event.Time) || a.event.Time.Equal(b.event.Time) && tie(a.event) < tie(b.event)
}

// matches returns the matches of some events, as a script tells them.
func (r *reference) matches(events []sequencetest.Event) []string {
	counts := map[string]int{}
	for _, sorted := range r.byKey(events) {
		for _, chain := range r.chains(sorted) {
			if !r.forbidden(chain, sorted) {
				names := make([]string, len(chain))
				for i, h := range chain {
					names[i] = tie(h.event)
				}
				counts[strings.Join(names, " ")]++
			}
		}
	}
	out := make([]string, 0, len(counts))
	for match, n := range counts {
		if n > 1 {
			match = fmt.Sprintf("%s (%d keys)", match, n)
		}
		out = append(out, match)
	}
	slices.Sort(out)
	return out
}

// byKey returns, for each key, the events that hit something under it, sorted, the
// stages of one request as one.
func (r *reference) byKey(events []sequencetest.Event) map[string][]hits {
	out := map[string][]hits{}
	all := slices.Clone(r.terms)
	if r.until != nil {
		all = append(all, r.until)
	}
	for _, e := range events {
		for _, term := range all {
			if !r.stage[term].Match(e.Record) {
				continue
			}
			for _, key := range r.keys(term, e) {
				i := slices.IndexFunc(out[key], func(h hits) bool { return h.event.Time.Equal(e.Time) && tie(h.event) == tie(e) })
				if i < 0 {
					i = len(out[key])
					out[key] = append(out[key], hits{e, map[*ast.Term]bool{}})
				}
				out[key][i].terms[term] = true
			}
		}
	}
	for _, list := range out {
		slices.SortFunc(list, func(a, b hits) int {
			if before(a, b) {
				return -1
			}
			return 1
		})
	}
	return out
}

// keys returns every choice of one value from each of a term's keys.
func (r *reference) keys(term *ast.Term, e sequencetest.Event) []string {
	keys := []string{""}
	for _, field := range slices.Concat(r.by, term.By) {
		var values []string
		f, _ := r.schema.Lookup(field.Name)
		v := value.Missing()
		if f.Name != "" {
			v = e.Record.Field(f.Slot)
		}
		switch {
		case v.IsMissing() && field.Optional:
			values = []string{"null"}
		case v.IsRef() && v.Key() != "":
			values = []string{"to " + v.Key()}
		case v.IsMissing() || v.IsRef():
		case v.Kind() == value.KindInt || v.Kind() == value.KindFloat:
			values = []string{fmt.Sprint("number ", v.Float())}
		default:
			for i := range v.Len() {
				values = append(values, v.At(i).String())
			}
			slices.Sort(values)
			values = slices.Compact(values)
		}
		var longer []string
		for _, k := range keys {
			for _, v := range values {
				longer = append(longer, k+" / "+v)
			}
		}
		keys = longer
	}
	return keys
}

// chains plays the events through the terms that must happen: those of one event
// from the last to the first, and of what waits at a term only the newest counts.
func (r *reference) chains(events []hits) [][]hits {
	var positive []*ast.Term
	for _, t := range r.terms {
		if !t.Missing {
			positive = append(positive, t)
		}
	}
	var complete [][]hits
	waiting := make([][]hits, len(positive)) // what has come to each term
	for _, e := range events {
		for i := len(positive) - 1; i >= 0; i-- {
			if !e.terms[positive[i]] {
				continue
			}
			var chain []hits
			if i > 0 {
				taken := waiting[i-1]
				waiting[i-1] = nil
				if taken == nil || e.event.Time.Sub(taken[0].event.Time) > r.maxSpan || r.ended(taken, e, events) {
					continue
				}
				chain = slices.Clone(taken)
			}
			chain = append(chain, e)
			if i == len(positive)-1 {
				complete = append(complete, chain)
			} else {
				waiting[i] = chain
			}
		}
	}
	return complete
}

// ended looks for the latest until before a hit, and whether it is at or behind the
// last event of what waits.
func (r *reference) ended(chain []hits, hit hits, events []hits) bool {
	ended := false
	for _, e := range events {
		if r.until != nil && e.terms[r.until] && before(e, hit) {
			ended = !before(e, chain[len(chain)-1])
		}
	}
	return ended
}

// forbidden looks for an event of a missing term in that term's window.
func (r *reference) forbidden(chain []hits, events []hits) bool {
	next := 0 // the place in the chain of the next term that must happen
	for _, t := range r.terms {
		if !t.Missing {
			next++
			continue
		}
		for _, e := range events {
			if !e.terms[t] {
				continue
			}
			first, last := chain[0], chain[len(chain)-1]
			switch {
			case next == 0:
				if before(e, first) && last.event.Time.Sub(e.event.Time) <= r.maxSpan {
					return true
				}
			case next == len(chain):
				if before(last, e) && e.event.Time.Sub(first.event.Time) <= r.maxSpan {
					return true
				}
			case before(chain[next-1], e) && before(e, chain[next]):
				return true
			}
		}
	}
	return false
}
