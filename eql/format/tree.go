package format

import (
	"github.com/portcullis-dev/portcullis/eql/token"
)

// node is a part of an expression: *chain, *run, *group or *word.
type node interface {
	// flat is how many characters the node has on one line.
	flat() int
	// broken reports whether it must go over several lines: the author broke it.
	// What stands in front of its first word is not part of it.
	broken() bool
	// first is its first word.
	first() *word
}

// chain is two or more operands with and, or or between them.
type chain struct {
	operands  []node
	operators []*word // one less
	size      int
	isBroken  bool
}

// run is words and groups that follow each other: everything that has no line
// break of its own, such as not process.name in (…).
type run struct {
	parts    []node // *word and *group
	size     int
	isBroken bool
}

// group is what stands in parentheses, and the filter in the brackets of a
// lineage.
type group struct {
	open, close *word
	items       []node
	commas      []*word // one less
	filter      *filter
	size        int
	isBroken    bool
}

// filter is category where condition.
type filter struct {
	head      []*word
	condition node
}

// step is a term of a sequence: what stands in front of its bracket (until), the
// brackets, and what is behind them.
type step struct {
	lead        *word
	open, close *word
	filter      *filter
	rest        []*word
}

// query is a whole query.
type query struct {
	head   []*word // of a sequence
	steps  []step
	filter *filter // of a query for single events
	pipes  []*run
	end    *word
}

func (c *chain) flat() int    { return c.size }
func (c *chain) broken() bool { return c.isBroken }
func (c *chain) first() *word { return c.operands[0].first() }
func (r *run) flat() int      { return r.size }
func (r *run) broken() bool   { return r.isBroken }
func (r *run) first() *word   { return r.parts[0].first() }
func (g *group) flat() int    { return g.size }
func (g *group) broken() bool { return g.isBroken }
func (g *group) first() *word { return g.open }
func (w *word) flat() int     { return w.width() }
func (w *word) broken() bool  { return false }
func (w *word) first() *word  { return w }

func (f *filter) flat() int { return flatOf(f.head...) + 1 + f.condition.flat() }

// broken reports whether the author broke the filter, behind where or later.
func (f *filter) broken() bool {
	for _, w := range f.head[1:] {
		if w.commented() {
			return true
		}
	}
	return f.condition.first().breaks() || f.condition.broken()
}

// flatOf returns how many characters words have on one line.
func flatOf(words ...*word) int {
	n := 0
	for i, w := range words {
		n += w.width()
		if i > 0 && !w.tight {
			n++
		}
	}
	return n
}

// builder makes a tree of the words of a text that parses. The grammar is that of
// package parse, less what the layout does not depend on.
type builder struct {
	words []*word
	at    int
}

func (b *builder) next() *word {
	w := b.words[b.at]
	b.at++
	return w
}

func (b *builder) is(kinds ...token.Kind) bool {
	for _, k := range kinds {
		if b.words[b.at].kind == k {
			return true
		}
	}
	return false
}

// until returns the words before the first of some kind.
func (b *builder) until(kinds ...token.Kind) []*word {
	start := b.at
	for !b.is(kinds...) {
		b.at++
	}
	return b.words[start:b.at]
}

// query = ( filter | head { step } ) { pipe } EOF .
func (b *builder) query() *query {
	q := &query{}
	if b.is(token.Sequence, token.Sample, token.Join) {
		q.head = b.until(token.LeftSquare, token.Missing)
		for b.is(token.LeftSquare, token.Missing, token.Until) {
			q.steps = append(q.steps, b.step())
		}
	} else {
		q.filter = b.filter()
	}
	for b.is(token.Pipe) {
		q.pipes = append(q.pipes, b.pipe())
	}
	q.end = b.next()
	return q
}

// step = [ "until" ] ( "[" | "![" ) filter "]" { word } .
func (b *builder) step() step {
	var s step
	if b.is(token.Until) {
		s.lead = b.next()
	}
	s.open = b.next()
	s.filter = b.filter()
	s.close = b.next()
	s.rest = b.until(token.LeftSquare, token.Missing, token.Until, token.Pipe, token.EOF)
	return s
}

// filter = word "where" or .
func (b *builder) filter() *filter {
	head := b.words[b.at : b.at+2]
	b.at += 2
	return &filter{head: head, condition: b.or()}
}

// pipe is everything up to the next pipe.
func (b *builder) pipe() *run {
	r := &run{}
	r.add(b.next())
	for !b.is(token.Pipe, token.EOF) {
		r.add(b.part())
	}
	return r
}

func (b *builder) or() node { return b.chain(token.Or, b.and) }

func (b *builder) and() node { return b.chain(token.And, b.run) }

func (b *builder) chain(operator token.Kind, operand func() node) node {
	first := operand()
	if !b.is(operator) {
		return first
	}
	c := &chain{operands: []node{first}, size: first.flat(), isBroken: first.broken()}
	for b.is(operator) {
		op := b.next()
		x := operand()
		c.operators = append(c.operators, op)
		c.operands = append(c.operands, x)
		c.size += 1 + op.width() + 1 + x.flat()
		c.isBroken = c.isBroken || x.first().breaks() || x.broken()
	}
	return c
}

// run = part { part } .
func (b *builder) run() node {
	r := &run{}
	for !b.is(token.And, token.Or, token.RightParen, token.RightSquare, token.Comma, token.Pipe, token.EOF) {
		r.add(b.part())
	}
	if len(r.parts) == 1 {
		return r.parts[0]
	}
	return r
}

func (r *run) add(part node) {
	if len(r.parts) > 0 {
		if !part.first().tight {
			r.size++
		}
		r.isBroken = r.isBroken || part.first().commented()
	}
	r.size += part.flat()
	r.isBroken = r.isBroken || part.broken()
	r.parts = append(r.parts, part)
}

// part = word | "(" [ or { "," or } ] ")" | "[" filter "]" .
func (b *builder) part() node {
	switch {
	case b.is(token.LeftParen):
		return b.group()
	case b.is(token.LeftSquare):
		g := &group{open: b.next(), filter: b.filter()}
		g.close = b.next()
		g.isBroken = g.filter.head[0].commented() || g.filter.broken() || g.close.commented()
		g.size = g.open.width() + g.filter.flat() + g.close.width()
		return g
	default:
		return b.next()
	}
}

func (b *builder) group() *group {
	g := &group{open: b.next()}
	g.size = g.open.width()
	for !b.is(token.RightParen) {
		item := b.or()
		g.items = append(g.items, item)
		g.size += item.flat()
		g.isBroken = g.isBroken || item.first().breaks() || item.broken()
		if b.is(token.Comma) {
			comma := b.next()
			g.commas = append(g.commas, comma)
			g.size += comma.width() + 1
		}
	}
	g.close = b.next()
	g.size += g.close.width()
	g.isBroken = g.isBroken || g.close.breaks()
	return g
}
