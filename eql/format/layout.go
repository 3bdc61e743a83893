package format

import "github.com/portcullis-dev/portcullis/eql/token"

// condition lays out a condition that stands alone.
func (p *printer) condition(words []*word) {
	b := &builder{words: words}
	condition := b.or()
	p.breakBefore(condition.first(), 0, false)
	p.expression(condition, 0, 0)
	p.ending(b.next(), 0)
}

// query lays out a whole query.
func (p *printer) query(q *query) {
	if q.filter != nil {
		p.breakBefore(q.filter.head[0], 0, false)
		p.filter(q.filter, 0, 0)
	} else {
		p.breakBefore(q.head[0], 0, false)
		p.words(q.head...)
	}
	for i, s := range q.steps {
		p.step(s, i > 0)
	}
	for _, pipe := range q.pipes {
		p.breakBefore(pipe.first(), 0, true)
		p.expression(pipe, 0, 0)
	}
	indent := indentation
	if len(q.pipes) > 0 {
		indent = 0
	}
	p.ending(q.end, indent)
}

// step lays out a term of a sequence, on one line if possible. The bracket of a
// longer one is closed on a line of its own.
func (p *printer) step(s step, keepEmpty bool) {
	indent := indentation
	if s.lead != nil {
		indent = 0
		p.breakBefore(s.lead, indent, keepEmpty)
		p.words(s.lead, s.open)
	} else {
		p.breakBefore(s.open, indent, keepEmpty)
		p.word(s.open)
	}
	rest := flatOf(append([]*word{s.close}, s.rest...)...)
	if !s.filter.head[0].commented() && !s.filter.broken() && !s.close.commented() && p.fits(s.filter.flat(), rest) {
		p.words(s.filter.head...)
		p.line(s.filter.condition)
		p.word(s.close)
	} else {
		p.filter(s.filter, indent, 0)
		p.closing(s.close, indent+indentation, indent)
	}
	p.words(s.rest...)
}

// filter lays out category where condition. The condition begins on the same line
// if its first operand has room there.
func (p *printer) filter(f *filter, indent, after int) {
	p.words(f.head...)
	inner := indent + indentation
	operand := f.condition
	if c, ok := operand.(*chain); ok {
		operand = c.operands[0]
	}
	first := operand.first()
	if first.breaks() || large(operand, inner, operatorWidth) || !p.fits(operand.flat(), operatorWidth) {
		p.breakBefore(first, inner, false)
	}
	p.expression(f.condition, inner, after)
}

// operatorWidth is how many characters must follow an operand that is not the
// last: " and".
const operatorWidth = 4

// expression lays out an expression from where the printer is; its further lines
// begin at indent.
func (p *printer) expression(n node, indent, after int) {
	if !n.broken() && p.fits(n.flat(), after) {
		p.line(n)
		return
	}
	switch n := n.(type) {
	case *chain:
		p.chain(n, indent, after)
	case *run:
		p.parts(n.parts)
	case *group:
		p.group(n, false)
	default:
		p.line(n)
	}
}

// chain lays out operands that do not fit on a line. Where the author has broken
// it, or an operand goes over several lines, it is broken there, and where the
// next operand does not fit; else between all operands.
func (p *printer) chain(c *chain, indent, after int) {
	p.chained(c, 0, indent, after)
	everywhere := !hasBreaks(c, indent)
	for i := 1; i < len(c.operands); i++ {
		p.word(c.operators[i-1])
		first := c.operands[i].first()
		tail := tailOf(c, i, after)
		if everywhere || first.breaks() || large(c.operands[i-1], indent, operatorWidth) || large(c.operands[i], indent, tail) ||
			!p.fits(c.operands[i].flat(), tail) {
			p.breakBefore(first, indent, true)
		}
		p.chained(c, i, indent, after)
	}
}

// chained lays out one operand of a chain.
func (p *printer) chained(c *chain, i, indent, after int) {
	if inner, ok := c.operands[i].(*chain); ok {
		p.expression(inner, indent+indentation, tailOf(c, i, after))
		return
	}
	p.expression(c.operands[i], indent, tailOf(c, i, after))
}

// tailOf returns how many characters must follow an operand on its line.
func tailOf(c *chain, i, after int) int {
	if i < len(c.operators) {
		return operatorWidth
	}
	return after
}

// hasBreaks reports whether there are places where the chain is broken anyhow: by
// its author, or since an operand goes over several lines.
func hasBreaks(c *chain, indent int) bool {
	for i, x := range c.operands {
		if i > 0 && x.first().breaks() || large(x, indent, operatorWidth) {
			return true
		}
	}
	return false
}

// large reports whether a node goes over several lines even if it begins one.
func large(n node, indent, after int) bool {
	return n.broken() || indent+n.flat()+after > width && breakable(n)
}

// breakable reports whether a node has a place for a line break.
func breakable(n node) bool {
	switch n := n.(type) {
	case *chain, *group:
		return true
	case *run:
		return widest(n.parts) != nil
	default:
		return false
	}
}

// widest returns the group that is broken where words and groups do not fit on a
// line, nil if there is none.
func widest(parts []node) *group {
	var found *group
	for _, part := range parts {
		if g, ok := part.(*group); ok && (found == nil || g.flat() > found.flat()) {
			found = g
		}
	}
	return found
}

// parts lays out words and groups that do not fit on a line: the groups that the
// author has broken are, or else the widest.
func (p *printer) parts(parts []node) {
	chosen := widest(parts)
	for _, part := range parts {
		if part.broken() || part.first().commented() {
			chosen = nil
		}
	}
	before := &word{kind: token.EOF}
	for _, part := range parts {
		if g, ok := part.(*group); ok && (g == chosen || g.broken()) {
			p.group(g, isList(before))
		} else {
			p.line(part)
		}
		if w, ok := part.(*word); ok {
			before = w
		}
	}
}

// group lays out parentheses over several lines: what they hold, indented, and
// the closing one on a line of its own. Lists are filled.
func (p *printer) group(g *group, list bool) {
	p.word(g.open)
	indent := p.indent
	inner := indent + indentation
	if g.filter != nil {
		p.filter(g.filter, indent, 0)
	}
	for i, x := range g.items {
		if i > 0 {
			p.word(g.commas[i-1])
		}
		if i == 0 || x.first().breaks() || large(x, inner, 1) || large(g.items[i-1], inner, 1) || !p.fits(x.flat(), 1) {
			p.breakBefore(x.first(), inner, i > 0)
		}
		deeper := inner
		if _, ok := x.(*chain); ok && list {
			deeper += indentation
		}
		p.expression(x, deeper, 1)
	}
	p.closing(g.close, inner, indent)
}
