package ruletest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/portcullis-dev/portcullis/event"
)

// property is one thing that is said of a detection.
type property struct{ name, value string }

// expectation is what a test says of one detection, or what can be said of one
// that was concluded, in the order of order.
type expectation []property

// order is how properties are shown.
func order() []string {
	return []string{"rule", "at", "pod", "podUID", "user", "action", "why", "events"}
}

func (x expectation) sorted() expectation {
	places := order()
	slices.SortStableFunc(x, func(a, b property) int {
		return cmp.Compare(slices.Index(places, a.name), slices.Index(places, b.name))
	})
	return x
}

func (x expectation) get(name string) (string, bool) {
	i := slices.IndexFunc(x, func(p property) bool { return p.name == name })
	if i < 0 {
		return "", false
	}
	return x[i].value, true
}

// describe says everything of a detection that a test can say, and why its
// action falls short.
func describe(d *event.Detection, t *test) expectation {
	ids := make([]string, 0, len(d.Events))
	for _, e := range d.Events {
		i := slices.IndexFunc(t.events, func(h happening) bool { return h.event.ID == e.ID })
		ids = append(ids, t.events[i].id)
	}
	all := expectation{
		{"rule", d.Rule.Name}, {"at", d.Time.Sub(t.start).String()}, {"pod", d.Pod.String()}, {"podUID", d.Pod.UID},
		{"user", d.User}, {"action", string(d.Action)}, {"why", d.Why}, {"events", listed(ids)},
	}
	return slices.DeleteFunc(all, func(p property) bool { return p.value == "" || p.value == "/" })
}

// listed is a list in one line.
func listed(texts []string) string { return "[" + strings.Join(texts, ", ") + "]" }

// fits reports whether a detection is what is wanted.
func (x expectation) fits(concluded expectation) bool {
	return !slices.ContainsFunc(x, func(p property) bool {
		value, _ := concluded.get(p.name)
		return value != p.value
	})
}

// pairing says which detection each expectation stands for, by index; -1 for none.
type pairing []int

// pair finds a detection for as many expectations as possible. It need not be the
// first that fits: that one may be the only one for another.
func pair(want, got []expectation) pairing {
	byDetection := make([]int, len(got))
	for i := range byDetection {
		byDetection[i] = -1
	}
	var find func(w int, tried []bool) bool
	find = func(w int, tried []bool) bool {
		for g := range got {
			if tried[g] || !want[w].fits(got[g]) {
				continue
			}
			tried[g] = true
			if byDetection[g] < 0 || find(byDetection[g], tried) {
				byDetection[g] = w
				return true
			}
		}
		return false
	}
	for w := range want {
		find(w, make([]bool, len(got)))
	}
	pairs := make(pairing, len(want))
	for w := range pairs {
		pairs[w] = slices.Index(byDetection, w)
	}
	return pairs
}

// compare returns the difference between what is wanted and what was concluded,
// a line each: "-" is wanted and not there, "+" is there and not wanted. It is
// empty if there is none.
func compare(want, got []expectation) []string {
	pairs := pair(want, got)
	var lines []string
	left := slices.Clone(got)
	for _, g := range slices.Backward(slices.Sorted(slices.Values(pairs))) {
		if g >= 0 {
			left = slices.Delete(left, g, g+1)
		}
	}
	for w, g := range pairs {
		if g >= 0 {
			continue
		}
		near := nearest(want[w], left)
		if near < 0 {
			lines = append(lines, block("-", want[w])...)
			continue
		}
		lines = append(lines, difference(want[w], left[near])...)
		left = slices.Delete(left, near, near+1)
	}
	for _, d := range left {
		lines = append(lines, block("+", d)...)
	}
	return lines
}

// nearest is the detection that was probably meant: one of that rule, at that
// time if there is one.
func nearest(want expectation, got []expectation) int {
	best, most := -1, 0
	for i, d := range got {
		alike := 0
		for _, p := range want {
			if value, _ := d.get(p.name); value == p.value {
				alike++
			}
		}
		name, _ := want.get("rule")
		if same, _ := d.get("rule"); same == name && alike > most {
			best, most = i, alike
		}
	}
	return best
}

func block(sign string, x expectation) []string {
	lines := make([]string, 0, len(x))
	for i, p := range x {
		lines = append(lines, line(sign, i == 0, p))
	}
	return lines
}

// difference shows one detection that is nearly right.
func difference(want, got expectation) []string {
	var lines []string
	for i, p := range want {
		value, there := got.get(p.name)
		if value == p.value {
			lines = append(lines, line(" ", i == 0, p))
			continue
		}
		lines = append(lines, line("-", i == 0, p))
		if there {
			lines = append(lines, line("+", i == 0, property{p.name, value}))
		}
		if why, ok := got.get("why"); ok && p.name == "action" {
			lines = append(lines, line("+", false, property{"why", why}))
		}
	}
	return lines
}

// line shows one property; a detection's first one stands out.
func line(sign string, first bool, p property) string {
	indentation := "  "
	if first {
		indentation = ""
	}
	return fmt.Sprintf("%s %s%s: %s", sign, indentation, p.name, p.value)
}
