package ruletest

import "github.com/portcullis-dev/portcullis/event"

// coverage collects what the tests show of each rule.
type coverage struct {
	suite *Suite
	rules map[string]*RuleCoverage
	// used are the exceptions that took a hit away, by rule and name.
	used map[[2]string]bool
}

func newCoverage(s *Suite) *coverage {
	c := &coverage{suite: s, rules: map[string]*RuleCoverage{}, used: map[[2]string]bool{}}
	for name, ought := range s.subjects {
		if ought {
			c.rules[name] = &RuleCoverage{Rule: name}
		}
	}
	return c
}

// see takes a test in.
func (c *coverage) see(f *file, t *test, detections []*event.Detection) {
	fired := map[string]bool{}
	for _, d := range detections {
		fired[d.Rule.Name] = true
	}
	for _, r := range f.rules.All() {
		covered := c.rules[r.Name]
		covered.Tests++
		if fired[r.Name] {
			covered.Detects++
		} else {
			covered.StaysQuiet++
		}
		for _, h := range t.events {
			for _, name := range c.suite.view(r, h.event).exceptions {
				c.used[[2]string{r.Name, name}] = true
			}
		}
	}
}

// report returns the coverage of all rules that ought to be tested, by name.
func (c *coverage) report() []RuleCoverage {
	var all []RuleCoverage
	for _, r := range c.suite.rules.All() {
		covered := c.rules[r.Name]
		if covered == nil {
			continue
		}
		covered.File, covered.Line = r.File, r.Line
		for _, x := range r.Exceptions {
			if !c.used[[2]string{r.Name, x.Name}] {
				covered.UntestedExceptions = append(covered.UntestedExceptions, x.Name)
			}
		}
		all = append(all, *covered)
	}
	return all
}
