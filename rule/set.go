package rule

import (
	"fmt"
	"slices"
	"strings"

	"github.com/portcullis-dev/portcullis/eql/diag"
	"github.com/portcullis-dev/portcullis/eql/value"
)

// Set is the rules that run together, each name once. It is immutable. The nil
// Set is empty.
type Set struct {
	rules  []*Rule
	byName map[string]*Rule
}

// NewSet returns the Set of the rules. It fails if two have the same name, or
// were compiled with different schemas: slots of the one mean nothing to the other.
func NewSet(rules ...*Rule) (*Set, error) {
	s := &Set{rules: slices.Clone(rules), byName: map[string]*Rule{}}
	slices.SortFunc(s.rules, func(a, b *Rule) int { return strings.Compare(a.Name, b.Name) })
	for _, r := range s.rules {
		if first, ok := s.byName[r.Name]; ok {
			return nil, fmt.Errorf("rule %q of %s:%d: %s:%d has one of that name", r.Name, r.File, r.Line, first.File, first.Line)
		}
		s.byName[r.Name] = r
		if r.schema != s.rules[0].schema {
			return nil, fmt.Errorf("rule %q was compiled with another schema than rule %q", r.Name, s.rules[0].Name)
		}
	}
	return s, nil
}

// Schema returns what the rules were compiled with: events must be read by it.
// It is nil for an empty Set.
func (s *Set) Schema() value.Schema {
	if s.Len() == 0 {
		return nil
	}
	return s.rules[0].schema
}

// Merge returns the rules of all sets as one. It fails where NewSet does.
func Merge(sets ...*Set) (*Set, error) {
	var rules []*Rule
	for _, s := range sets {
		rules = append(rules, s.All()...)
	}
	return NewSet(rules...)
}

// All returns the rules by name. The slice is the Set's own: do not change it.
func (s *Set) All() []*Rule {
	if s == nil {
		return nil
	}
	return s.rules
}

// Get returns the rule of that name, nil if there is none.
func (s *Set) Get(name string) *Rule {
	if s == nil {
		return nil
	}
	return s.byName[name]
}

// Len is the number of rules.
func (s *Set) Len() int { return len(s.All()) }

// Warnings are those of all rules.
func (s *Set) Warnings() diag.List {
	var all diag.List
	for _, r := range s.All() {
		all = append(all, r.Warnings...)
	}
	return all
}
