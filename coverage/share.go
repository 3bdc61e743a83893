package coverage

import "strings"

// Sources share their family's room by who can make many of them, so that whoever makes too many is the only one who loses
// by it. What stands for a share is a source itself.

// nodeShare begins the names, within a family, of what stands for a node.
const nodeShare = "node:"

// serviceAccount begins the names of service accounts, before the namespace.
const serviceAccount = "system:serviceaccount:"

// shareOf is what stands for a source that does not say on which node it is. Those of a family share it, but whoever may make
// service accounts in a namespace, or pods, takes no room from other users.
func shareOf(name string) string {
	of := family(name)
	owner, joins := strings.CutPrefix(name, FamilyJoin)
	if !joins {
		return of + "*"
	}
	group := ""
	if account, ok := strings.CutPrefix(owner, serviceAccount); ok {
		if namespace, single, ok := strings.Cut(account, ":"); ok && single != "*" {
			group = serviceAccount + namespace + ":"
		}
	} else if uid, ok := strings.CutPrefix(owner, "uid:"); ok && uid != "*" {
		group = "uid:"
	}
	return of + group + "*"
}

// shareOn is what stands for a source on a node: of telemetry all of the node's.
func shareOn(node, name string) string {
	switch of := family(name); {
	case node == "":
		return shareOf(name)
	case of == FamilyPod:
		return FamilyAgent + node
	default:
		return onNode(of) + node
	}
}

// onNode begins the names of what stands for nodes in a family.
func onNode(family string) string { return family + nodeShare }

// shareRoom is how many sources one share may have: all of the room if it is the family's.
func (l *Ledger) shareRoom(share string) int {
	if strings.HasSuffix(share, "/*") {
		return 2 * l.opts.MaxSources
	}
	return max(1, l.opts.MaxSources/16)
}

// ranking is a heap of sources: the first makes room next. It is a heap so that what is noted while somebody waits costs
// little however many sources there are.
type ranking []*source

// Len implements heap.Interface.
func (r ranking) Len() int { return len(r) }

// Less implements heap.Interface: the source with more holes, and of two with as many not the one that stands for others.
func (r ranking) Less(i, j int) bool {
	a, b := r[i], r[j]
	if len(a.ended) != len(b.ended) {
		return len(a.ended) > len(b.ended)
	}
	if ours, theirs := a.name == a.share, b.name == b.share; ours != theirs {
		return theirs
	}
	return a.name < b.name
}

// Swap implements heap.Interface.
func (r ranking) Swap(i, j int) {
	r[i], r[j] = r[j], r[i]
	r[i].rank, r[j].rank = i, j
}

// Push implements heap.Interface.
func (r *ranking) Push(x any) {
	s := x.(*source) // nothing else is put in
	s.rank = len(*r)
	*r = append(*r, s)
}

// Pop implements heap.Interface.
func (r *ranking) Pop() any {
	last := (*r)[len(*r)-1]
	(*r)[len(*r)-1] = nil
	*r = (*r)[:len(*r)-1]
	return last
}
