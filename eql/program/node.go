package program

import "github.com/portcullis-dev/portcullis/eql/ast"

// node is a condition as logic over predicates. A stage is evaluated through the
// conds made of it; a Set links the nodes of many stages so that each predicate
// is evaluated once for all of them.
type node struct {
	op nodeOp
	of []*node
	// test is an opPredicate's; name is its text, by which equal ones are found.
	test cond
	name string
}

type nodeOp uint8

const (
	opTrue nodeOp = iota
	opFalse
	opPredicate
	opNot
	opAll
	opEither
)

func truth(t bool) *node {
	if t {
		return &node{op: opTrue}
	}
	return &node{op: opFalse}
}

// predicate returns the node of a test, whose text is e's.
func predicate(e ast.Expr, test cond) *node {
	if c, ok := test.(constant); ok {
		return truth(bool(c))
	}
	return &node{op: opPredicate, test: test, name: ast.Print(e)}
}

// decided returns the node's truth, if it has the same for every event.
func (n *node) decided() (truth, ok bool) {
	return n.op == opTrue, n.op == opTrue || n.op == opFalse
}

// negate returns the node's opposite; not not x is x.
func (n *node) negate() *node {
	if t, ok := n.decided(); ok {
		return truth(!t)
	}
	if n.op == opNot {
		return n.of[0]
	}
	return &node{op: opNot, of: []*node{n}}
}

// cond returns what evaluates the node.
func (n *node) cond() cond {
	switch n.op {
	case opTrue, opFalse:
		return constant(n.op == opTrue)
	case opPredicate:
		return n.test
	case opNot:
		return not{n.of[0].cond()}
	case opEither:
		return either(conds(n.of))
	default:
		return all(conds(n.of))
	}
}

func conds(nodes []*node) []cond {
	list := make([]cond, len(nodes))
	for i, n := range nodes {
		list[i] = n.cond()
	}
	return list
}

// given returns what is left of a condition when some of its predicates are decided.
func (n *node) given(decided func(name string) (truth, ok bool)) *node {
	switch n.op {
	case opPredicate:
		if t, ok := decided(n.name); ok {
			return truth(t)
		}
		return n
	case opNot:
		return n.of[0].given(decided).negate()
	case opAll, opEither:
		of := make([]*node, len(n.of))
		for i, x := range n.of {
			of[i] = x.given(decided)
		}
		return join(n.op, of)
	default:
		return n
	}
}

// join joins conditions by opAll or opEither, and leaves out what is decided.
func join(op nodeOp, of []*node) *node {
	n := &node{op: op}
	neutral := op == opAll
	for _, x := range of {
		switch t, decided := x.decided(); {
		case !decided:
			n.of = append(n.of, x)
		case t != neutral:
			return x
		}
	}
	switch len(n.of) {
	case 0:
		return truth(neutral)
	case 1:
		return n.of[0]
	default:
		return n
	}
}
