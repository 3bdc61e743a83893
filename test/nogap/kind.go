package main

import (
	"math/rand/v2"
	"net/http"
	"strings"
)

// who asks for the exec.
type who string

const (
	aPerson who = "a person"
	thePod  who = "the pod"
)

// where the exec goes to.
type where string

const (
	// intoIt is the pod that made the request.
	intoIt where = "it"
	// nextToIt is another pod of its node, elsewhere one of another node. Neither ever did anything.
	nextToIt  where = "another of its node"
	elsewhere where = "one of another node"
)

// kind is what is tried.
type kind struct {
	name string
	// seen is what the node sees; nil is nothing.
	seen saw
	// asks is the path of the pod's request, code its answer.
	asks string
	code int
	by   who
	into where
	// newborn: the pod is made just before. unnamed: its status comes to name the container only after the exec was asked for.
	newborn, unnamed bool
	// successor: a newborn has the name of a pod that was deleted just before.
	successor bool
	// ownUser: the pod has a service account of its own, which a rule wants.
	ownUser bool
	// welcome: it must be admitted.
	welcome bool
}

func kinds() []kind {
	const allowed, forbidden = "/api/v1/namespaces/" + inside + "/configmaps", "/api/v1/namespaces/" + inside + "/secrets"
	return []kind{
		{name: "token read, then used", seen: readToken, asks: allowed, code: http.StatusOK, by: aPerson, into: intoIt},
		{name: "refused request of a client", seen: ranCurl, asks: forbidden, code: http.StatusForbidden, by: aPerson, into: intoIt},
		{name: "request of a client", seen: ranCurl, asks: allowed, code: http.StatusOK, by: aPerson, into: intoIt},
		{name: "request of an unusual client", seen: ranStranger, asks: allowed, code: http.StatusOK, by: aPerson, into: intoIt},
		{name: "pod that is new", seen: readToken, asks: allowed, code: http.StatusOK, by: aPerson, into: intoIt, newborn: true},
		{name: "pod that is new, of an old name", seen: readToken, asks: allowed, code: http.StatusOK, by: aPerson, into: intoIt, newborn: true, successor: true},
		{name: "container that is new", seen: readToken, asks: allowed, code: http.StatusOK, by: aPerson, into: intoIt, unnamed: true},
		{name: "the pod's own exec", seen: readToken, asks: allowed, code: http.StatusOK, by: thePod, into: nextToIt},
		{name: "the pod's own exec, to another node", seen: readToken, asks: allowed, code: http.StatusOK, by: thePod, into: elsewhere},
		{name: "a new pod's own exec, to another node", seen: readToken, asks: allowed, code: http.StatusOK, by: thePod, into: elsewhere, newborn: true},
		{name: "the user's exec", seen: ranBorrowed, asks: allowed, code: http.StatusOK, by: thePod, into: nextToIt, ownUser: true},
		{name: "the user's exec, to another node", seen: ranBorrowed, asks: allowed, code: http.StatusOK, by: thePod, into: elsewhere, ownUser: true},
		{name: "control: nothing was seen", asks: allowed, code: http.StatusOK, by: aPerson, into: intoIt, welcome: true},
		{name: "control: nothing was seen, the pod's own exec", asks: allowed, code: http.StatusOK, by: thePod, into: nextToIt, welcome: true},
		{name: "control: another pod", seen: readToken, asks: allowed, code: http.StatusOK, by: aPerson, into: nextToIt, welcome: true},
	}
}

// plan is the trials in their order: of each kind, with telemetry at once and last, there are as many as of any other.
func plan(seed uint64, n int, only string) []*trial {
	var round []trial
	for _, k := range kinds() {
		if !strings.Contains(k.name, only) {
			continue
		}
		round = append(round, trial{kind: k})
		if k.seen != nil {
			round = append(round, trial{kind: k, last: true})
		}
	}
	all := make([]*trial, 0, n)
	for i := range n {
		if len(round) == 0 {
			break
		}
		one := round[i%len(round)]
		all = append(all, &one)
	}
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // nobody is to be surprised
	random.Shuffle(len(all), func(i, k int) { all[i], all[k] = all[k], all[i] })
	for i, t := range all {
		t.number = i
	}
	return all
}
