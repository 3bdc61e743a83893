package ast

// Walk calls visit for node and then, if it returned true, for everything below
// it, in the order of the text. Nil parts are left out.
func Walk(node Node, visit func(Node) bool) {
	if !visit(node) {
		return
	}
	for _, child := range children(node) {
		Walk(child, visit)
	}
}

func children(node Node) []Node {
	switch n := node.(type) {
	case *Query:
		return append([]Node{n.Body}, nodes(n.Pipes)...)
	case *Filter:
		return []Node{n.Where}
	case *Sequence:
		out := nodes(n.By)
		if n.MaxSpan != nil {
			out = append(out, n.MaxSpan)
		}
		return append(append(out, nodes(n.Terms)...), optional(n.Until)...)
	case *Group:
		return append(append(nodes(n.By), nodes(n.Terms)...), optional(n.Until)...)
	case *Term:
		out := append([]Node{n.Filter}, nodes(n.By)...)
		if n.Runs != nil {
			out = append(out, n.Runs)
		}
		return out
	case *Pipe:
		return nodes(n.Args)
	case Expr:
		return operands(n)
	default:
		return nil
	}
}

func operands(e Expr) []Node {
	switch e := e.(type) {
	case *Unary:
		return []Node{e.X}
	case *Logical:
		return nodes(e.X)
	case *Compare:
		return []Node{e.X, e.Y}
	case *Arith:
		return []Node{e.X, e.Y}
	case *In:
		return append([]Node{e.X}, nodes(e.List)...)
	case *Match:
		return append([]Node{e.X}, nodes(e.Patterns)...)
	case *Call:
		return nodes(e.Args)
	case *Lineage:
		return []Node{e.Filter}
	default:
		return nil
	}
}

func nodes[N Node](list []N) []Node {
	out := make([]Node, 0, len(list))
	for _, n := range list {
		out = append(out, n)
	}
	return out
}

func optional(t *Term) []Node {
	if t == nil {
		return nil
	}
	return []Node{t}
}
