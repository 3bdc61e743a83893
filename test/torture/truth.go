package main

import (
	"cmp"
	"slices"
	"time"
)

// expected is a detection that must be made: no more and no other than these.
type expected struct {
	rule string
	uid  string
	// mark is that of the completing request.
	mark string
}

// chain is a rule of two events that follow each other in one pod. It is told here in the simulation's
// own words; nothing of the engine, nor of the rule's text, is used.
type chain struct {
	rule    string
	first   kind
	refused bool // the request must be one that was refused
	within  time.Duration
}

// chains are the rules of two events; span is that of the longest.
func chains(span time.Duration) []chain {
	return []chain{
		{rule: tokenRule, first: readToken, within: span},
		{rule: "api-request-common-utilities", first: ranClient, within: time.Second},
		{rule: "forbidden-api-request-interactive", first: ranClient, refused: true, within: time.Second},
	}
}

const (
	execRule  = "exec-into-pod"
	tokenRule = "token-access-then-api-request"
)

// truth is what must be detected of the pods, and which first acts a detection may go with.
func truth(pods []*pod, chains []chain) map[expected]bool {
	out := map[expected]bool{}
	for _, p := range pods {
		slices.SortStableFunc(p.acts, func(a, b act) int { return a.at.Compare(b.at) })
		for _, c := range chains {
			for _, a := range c.completions(p.acts) {
				out[expected{c.rule, p.uid, a.mark}] = true
			}
		}
		for _, a := range p.acts {
			if a.kind == exec {
				out[expected{execRule, p.uid, a.mark}] = true
			}
		}
	}
	return out
}

// completions are the requests of a pod that complete the chain: each goes with the latest first act
// that no earlier request has gone with.
func (c chain) completions(acts []act) []act {
	var out []act
	var open *act
	for i := range acts {
		switch a := &acts[i]; {
		case a.kind == c.first:
			open = a
		case open == nil || !c.completes(a):
		case a.at.Sub(open.at) <= c.within:
			out = append(out, *a)
			open = nil
		}
	}
	return out
}

func (c chain) completes(a *act) bool { return a.kind == request && (a.refused || !c.refused) }

// trueChain reports whether the two acts of one pod are such a chain, be it that other acts go together in the end.
func (c chain) trueChain(open, done *act) bool {
	d := done.at.Sub(open.at)
	return open.kind == c.first && c.completes(done) && d >= 0 && d <= c.within
}

// byMark finds acts, and whose they are.
type byMark map[string]owned

type owned struct {
	pod *pod
	act *act
}

func index(pods []*pod) byMark {
	out := byMark{}
	for _, p := range pods {
		for i := range p.acts {
			out[p.acts[i].mark] = owned{p, &p.acts[i]}
		}
	}
	return out
}

// groups counts the names that more than one identity had, and the identities that had one of them.
func groups(pods []*pod) (names, identities int) {
	count := map[string]int{}
	for _, p := range pods {
		count[p.name]++
	}
	for _, n := range count {
		if n > 1 {
			names++
			identities += n
		}
	}
	return names, identities
}

func sorted(set map[expected]bool) []expected {
	out := make([]expected, 0, len(set))
	for e := range set {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b expected) int {
		return cmp.Or(cmp.Compare(a.rule, b.rule), cmp.Compare(a.uid, b.uid), cmp.Compare(a.mark, b.mark))
	})
	return out
}
