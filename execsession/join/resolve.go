package join

import (
	"cmp"
	"reflect"
	"slices"
	"time"

	"github.com/portcullis-dev/portcullis/event"
)

// maxNamed bounds the requests and users that a verdict names.
const maxNamed = 32

// Why a root has no exact user.
const (
	whySettling    = "it has begun just now, and more may be told of it"
	whySeveral     = "several users asked for the same at the same time"
	whyTooMany     = "there are more equal processes than requests for them: one came by another way than the API server"
	whyUnconfirmed = "the audit stream has not told yet that the request was let through and has started a process"
	whyEnded       = "the request ended before it can be told from one that started nothing"
	whyLate        = "it was first seen when it may have been another program already"
	whyContainer   = "which container it is in is not known"
	whyProbe       = "the kubelet runs the same command as a probe or a hook"
	whyLoose       = "it began later than the request starts its process"
	whyBlurred     = "telemetry of the pod is missing from that time"
	whyNobody      = "nobody asked the API server for it"
	whyWaiting     = "no request for it is known yet"
	whyHole        = "the audit stream was not heard at that time"
	whyPod         = "which pod it is in is not known"
)

// component is what is judged together.
type component struct {
	roots    []*root
	requests []*request
	graph    graph
	// others are, of each root, requests that may have no root at the usual time, and can have started it late.
	others [][]*request
	// surplus roots are more than there are requests, late ones included.
	surplus int
}

// resolve judges a zone, and returns what has changed.
func (e *Engine) resolve(z *zone) []Verdict {
	var changed []Verdict
	all := e.components(z)
	for i := range all {
		c := &all[i]
		for j, v := range e.judge(z, c) {
			if r := c.roots[j]; r.last == nil || !reflect.DeepEqual(*r.last, v) {
				r.last = &v
				changed = append(changed, v)
			}
		}
	}
	e.leave(z, all, e.opts.Retain)
	return changed
}

// leave takes out the components that have ended for so long, and what has been refused, which explains nothing.
func (e *Engine) leave(z *zone, all []component, after time.Duration) {
	left := map[any]bool{}
	for i := range all {
		c := &all[i]
		over := e.done(z, c, after)
		for _, r := range c.roots {
			if over {
				left[r] = true
				delete(e.roots, r.ID)
			}
		}
		for _, q := range c.requests {
			if over || q.refused {
				left[q] = true
				delete(e.requests, q.ID)
			}
		}
	}
	if len(left) > 0 {
		z.roots = slices.DeleteFunc(z.roots, func(r *root) bool { return left[r] })
		z.requests = slices.DeleteFunc(z.requests, func(q *request) bool { return left[q] })
	}
}

// done reports whether all of a component ended so long ago, and the audit stream has told everything of it, or is
// not expected to: no fact is expected that could revise it.
func (e *Engine) done(z *zone, c *component, after time.Duration) bool {
	last := time.Time{}
	note := func(end moment, begin Moment) {
		at := begin.At.Add(e.opts.MaxAge)
		if end.known {
			at = end.At.Add(after)
		}
		if at.After(last) {
			last = at
		}
	}
	for _, r := range c.roots {
		note(r.ended, r.Start)
		if r.last == nil || !r.last.Final && !r.last.Hole {
			return false
		}
	}
	for _, q := range c.requests {
		note(q.completed, q.Since)
	}
	return e.nowPast(z, last)
}

// components splits a zone into what can explain each other at the usual time.
func (e *Engine) components(z *zone) []component {
	rows, columns := len(z.roots), len(z.requests)
	parent := make([]int, rows+columns)
	for i := range parent {
		parent[i] = i
	}
	find := func(i int) int {
		for parent[i] != i {
			parent[i] = parent[parent[i]]
			i = parent[i]
		}
		return i
	}
	late := make([][]int, rows)
	usual := graph{rows: rows, columns: columns, edges: make([][]int, rows)}
	for i, r := range z.roots {
		for j, q := range z.requests {
			switch e.relate(r, q) {
			case firm:
				parent[find(i)] = find(rows + j)
				usual.edges[i] = append(usual.edges[i], j)
			case loose:
				late[i] = append(late[i], j)
			case not:
			}
		}
	}
	left := busy(z, &usual, late)
	index := map[int]int{}
	var all []component
	place := make([]int, columns)
	of := func(i int) *component {
		head := find(i)
		at, ok := index[head]
		if !ok {
			at = len(all)
			index[head] = at
			all = append(all, component{})
		}
		return &all[at]
	}
	for j, q := range z.requests {
		c := of(rows + j)
		place[j] = len(c.requests)
		c.requests = append(c.requests, q)
	}
	for i, r := range z.roots {
		c := of(i)
		var edges []int
		var others []*request
		for _, j := range usual.edges[i] {
			edges = append(edges, place[j])
		}
		for _, j := range late[i] {
			others = append(others, z.requests[j])
		}
		c.roots = append(c.roots, r)
		c.graph.edges = append(c.graph.edges, edges)
		c.others = append(c.others, others)
		if left[i] {
			c.surplus++
		}
	}
	for i := range all {
		all[i].graph.rows, all[i].graph.columns = len(all[i].roots), len(all[i].requests)
	}
	return all
}

// busy looks at what a busy node does, where the processes of many that ask at once begin late. It leaves of late only the requests
// that may have started nothing at the usual time, and says which roots have no request of their own even if those may have
// begun late: of several those without any usual one, and of these the newest.
func busy(z *zone, usual *graph, late [][]int) (left []bool) {
	usualOf, _ := usual.matching()
	idle := usual.spare(usualOf)
	order := make([]int, usual.rows)
	for i := range order {
		order[i] = i
	}
	has := func(i int) int { return min(len(usual.edges[i]), 1) } // any usual one
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(has(b), has(a)), z.roots[a].Start.At.Compare(z.roots[b].Start.At), cmp.Compare(z.roots[a].ID, z.roots[b].ID))
	})
	all := graph{rows: usual.rows, columns: usual.columns, edges: make([][]int, usual.rows)}
	for at, i := range order {
		late[i] = slices.DeleteFunc(late[i], func(j int) bool { return !idle.has(j) })
		all.edges[at] = slices.Concat(usual.edges[i], late[i])
	}
	left = make([]bool, usual.rows)
	columnOf, _ := all.matching()
	for at, column := range columnOf {
		left[order[at]] = column < 0
	}
	return left
}

// sure is what is known of a component as a whole.
type sure struct {
	// matched: each root can have a request of its own.
	matched bool
	// proven: each can have one that has certainly started a process.
	proven bool
	// possible are the requests of each root, by place; mine is the one in one matching, or -1.
	possible [][]int
	mine     []int
	// byEnds are the same where their ends are taken into account, nil where these do not decide.
	byEnds [][]int
	// heard: all requests that can explain one of the roots are known.
	heard bool
}

func (e *Engine) judge(z *zone, c *component) []Verdict {
	if len(c.roots) == 0 {
		return nil
	}
	s := e.sure(c)
	verdicts := make([]Verdict, len(c.roots))
	for i := range c.roots {
		verdicts[i] = e.judgeRoot(z, c, s, i)
	}
	e.findUnaudited(z, c, verdicts)
	return verdicts
}

func (e *Engine) sure(c *component) *sure {
	s := &sure{heard: true}
	for _, r := range c.roots {
		s.heard = e.toldPast(r.zone, r.Start.At.Add(2*e.tolerance(r.Start))) && s.heard
	}
	s.mine, s.matched = c.graph.matching()
	if !s.matched {
		s.possible = c.graph.edges
		return s
	}
	s.possible = c.graph.possible(s.mine)
	_, s.proven = e.reduced(c, e.proves).matching()
	if len(c.roots) > 1 || len(c.requests) > 1 {
		s.byEnds = e.endsOf(c)
	}
	return s
}

// reduced is the graph with only those edges that pass.
func (e *Engine) reduced(c *component, pass func(*root, *request) bool) *graph {
	g := &graph{rows: c.graph.rows, columns: c.graph.columns, edges: make([][]int, c.graph.rows)}
	for i, r := range c.roots {
		for _, j := range c.graph.edges[i] {
			if pass(r, c.requests[j]) {
				g.edges[i] = append(g.edges[i], j)
			}
		}
	}
	return g
}

// endsOf are the possible requests of each root by their ends: no request outlives its root. It is nil unless
// that leaves a matching in which all that has ended ended together.
func (e *Engine) endsOf(c *component) [][]int {
	g := e.reduced(c, func(r *root, q *request) bool { return !e.outlived(r, q) })
	columnOf, all := g.matching()
	if !all {
		return nil
	}
	for i, j := range columnOf {
		if !e.agree(c.roots[i], c.requests[j]) {
			return nil
		}
	}
	return g.possible(columnOf)
}

// judgeRoot judges one root of a component.
func (e *Engine) judgeRoot(z *zone, c *component, s *sure, i int) Verdict {
	r := c.roots[i]
	v := Verdict{Root: r.ID, Attribution: event.AttributionNone}
	told := e.toldPast(z, r.Start.At.Add(e.opts.StartLag+2*e.tolerance(r.Start)))
	v.Hole = e.hole(r.Start.At)
	v.Final = told && e.nowPast(z, r.Start.At.Add(e.opts.Settle))
	possible := requestsOf(c, s.possible[i])
	if len(possible)+len(c.others[i]) == 0 {
		return e.judgeAlone(r, v, told)
	}
	if s.byEnds != nil && users(possible) > 1 {
		if decided := requestsOf(c, s.byEnds[i]); users(decided) == 1 {
			possible = decided
		}
	}
	why := e.doubt(c, r, s, possible, c.others[i])
	all := slices.Concat(possible, c.others[i])
	v.Requests = ids(all)
	if why == "" {
		v.Attribution, v.Who = event.AttributionExact, possible[0].Who
		v.Request, v.Certain = possible[0].ID, len(possible) == 1
		if own := s.mine[i]; own >= 0 && slices.Contains(possible, c.requests[own]) {
			v.Request = c.requests[own].ID
		}
		return v
	}
	v.Attribution, v.Why = event.AttributionCandidates, why
	if !s.heard || !s.proven {
		// What leaves somebody out is that another's process is known to be another's, and that is not certain.
		all = slices.Concat(all, requestsOf(c, c.graph.edges[i]))
		v.Requests, v.Users = ids(all), []string{event.CandidateUnaudited}
	} else if why != whySeveral {
		v.Users = []string{event.CandidateUnaudited}
	}
	for _, q := range all {
		v.Users = append(v.Users, q.Who.User)
	}
	if r.Probe {
		v.Users = append(v.Users, event.CandidateProbe)
	}
	v.Users = bounded(v.Users)
	return v
}

// judgeAlone judges a root that nothing explains.
func (e *Engine) judgeAlone(r *root, v Verdict, told bool) Verdict {
	switch {
	case r.Probe:
		v.Why, v.Users = whyProbe, []string{event.CandidateProbe}
	case r.Place.Pod == "":
		v.Why = whyPod
	case v.Hole || r.zone.crowded.has(r.Start.At):
		v.Why, v.Hole = whyHole, true
	case told:
		v.Why, v.Users, v.Unaudited = whyNobody, []string{event.CandidateUnaudited}, true
	default:
		v.Why = whyWaiting
	}
	return v
}

// doubt is what keeps a root from having an exact user, empty if nothing does.
func (e *Engine) doubt(c *component, r *root, s *sure, possible, others []*request) string {
	z := r.zone
	switch {
	case c.surplus > 0:
		return whyTooMany
	case users(slices.Concat(possible, others)) > 1:
		return whySeveral
	case !s.matched || len(others) > 0:
		return whyLoose
	case r.Probe:
		return whyProbe
	case r.Late:
		return whyLate
	case r.Place.Container == "" || r.Place.Pod == "":
		return whyContainer
	case z.blurred.has(r.Start.At), z.crowded.has(r.Start.At):
		return whyBlurred
	case !e.nowPast(z, r.Start.At.Add(e.opts.Settle)):
		return whySettling
	case !s.heard:
		return whyUnconfirmed
	case slices.ContainsFunc(possible, func(q *request) bool { return !q.opened.known || q.Command == nil }):
		return whyUnconfirmed
	case !s.proven:
		if slices.ContainsFunc(possible, func(q *request) bool { return !q.completed.known }) {
			return whyUnconfirmed
		}
		return whyEnded
	}
	return ""
}

// findUnaudited marks the newest of more roots than there are requests, once no more requests are to be
// expected.
func (e *Engine) findUnaudited(z *zone, c *component, verdicts []Verdict) {
	if c.surplus == 0 || len(c.requests) == 0 {
		return
	}
	order := make([]int, len(c.roots))
	for i, r := range c.roots {
		order[i] = i
		if r.Probe || verdicts[i].Hole || z.crowded.has(r.Start.At) || !e.toldPast(z, r.Start.At.Add(e.opts.StartLag+2*e.tolerance(r.Start))) {
			return
		}
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(c.roots[b].Start.At.Compare(c.roots[a].Start.At), cmp.Compare(c.roots[a].ID, c.roots[b].ID))
	})
	for _, i := range order[:c.surplus] {
		verdicts[i].Unaudited, verdicts[i].OneOf = true, true
	}
}

func requestsOf(c *component, places []int) []*request {
	out := make([]*request, len(places))
	for i, place := range places {
		out[i] = c.requests[place]
	}
	return out
}

// users is how many different users asked.
func users(requests []*request) int {
	different := map[string]bool{}
	for _, q := range requests {
		different[q.who] = true
	}
	return len(different)
}

func ids(requests []*request) []string {
	out := make([]string, len(requests))
	for i, q := range requests {
		out[i] = q.ID
	}
	return bounded(out)
}

// bounded sorts texts, and leaves out what repeats or is too much.
func bounded(texts []string) []string {
	slices.Sort(texts)
	texts = slices.Compact(texts)
	return texts[:min(len(texts), maxNamed)]
}
