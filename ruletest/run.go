package ruletest

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/portcullis-dev/portcullis/correlator"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/rule"
)

// Options configure a run.
type Options struct {
	// Only runs the tests whose "file: name" it matches. Nil means all. The
	// report then says nothing about coverage.
	Only *regexp.Regexp
}

// Run loads rules and tests, and runs all of them: what a Go test of a folder of
// rules needs. Its error shows what is wrong with the lines that it is about.
func Run(ctx context.Context, paths ...string) (*Report, error) {
	suite, err := Load(paths)
	var invalid *rule.InvalidError
	if errors.As(err, &invalid) {
		return nil, errors.New("\n" + invalid.Render())
	}
	if err != nil {
		return nil, err
	}
	return suite.Run(ctx, Options{})
}

// Run runs the tests and reports how they went; that some fail is no error. It
// ends early with the context.
func (s *Suite) Run(ctx context.Context, o Options) (*Report, error) {
	report := &Report{}
	coverage := newCoverage(s)
	for _, f := range s.files {
		result := FileResult{Path: f.path}
		for i := range f.tests {
			t := &f.tests[i]
			if o.Only != nil && !o.Only.MatchString(f.path+": "+t.name) {
				continue
			}
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			detections, err := s.play(f, t)
			if err != nil {
				return nil, fmt.Errorf("%s:%d: %s: %w", f.path, t.line, t.name, err)
			}
			coverage.see(f, t, detections)
			result.Tests = append(result.Tests, s.judge(f, t, detections))
		}
		report.add(result)
	}
	if o.Only == nil {
		report.Rules = coverage.report()
	}
	return report, nil
}

// play runs the file's rules over a test's events.
func (s *Suite) play(f *file, t *test) ([]*event.Detection, error) {
	replay, err := correlator.NewReplay(correlator.ReplayOptions{Rules: f.rules, Schema: s.schema, Mode: t.mode})
	if err != nil {
		return nil, err
	}
	for _, h := range t.events {
		if err := replay.Add(h.event); err != nil {
			return nil, err
		}
	}
	return replay.Finish(nil), nil
}

// judge compares what was concluded with what the test wants.
func (s *Suite) judge(f *file, t *test, detections []*event.Detection) TestResult {
	got := make([]expectation, 0, len(detections))
	for _, d := range detections {
		got = append(got, describe(d, t))
	}
	result := TestResult{Name: t.name, Line: t.line, Detections: len(detections), Difference: compare(t.want, got)}
	if len(result.Difference) > 0 {
		result.Explanation = s.explain(f, t)
	}
	return result
}

// explain says what each rule made of each event, for whoever wonders why a test fails.
func (s *Suite) explain(f *file, t *test) []string {
	lines := make([]string, 0, f.rules.Len()*len(t.events))
	for _, r := range f.rules.All() {
		for _, h := range t.events {
			lines = append(lines, fmt.Sprintf("%s, event %s at %s: %s", r.Name, h.id, h.at, s.verdict(r, h.event)))
		}
	}
	return lines
}

// verdict is what a rule makes of one event, in words.
func (s *Suite) verdict(r *rule.Rule, e *event.Event) string {
	v := s.view(r, e)
	switch {
	case len(v.terms) == 0:
		return "no hit"
	case len(v.exceptions) > 0:
		return fmt.Sprintf("hit of %s, but for the exceptions %s", listed(v.terms), listed(v.exceptions))
	default:
		return "hit of " + listed(v.terms)
	}
}

// view is what a rule sees in an event: the terms of its query that match, and
// the exceptions that take the hits of the positive ones away.
type view struct {
	terms, exceptions []string
}

func (s *Suite) view(r *rule.Rule, e *event.Event) view {
	record := s.schema.NewRecord()
	record.Reset(e)
	var v view
	positive := false
	for i, stage := range r.Program.Stages() {
		if stage.Match(record) {
			v.terms = append(v.terms, fmt.Sprintf("term %d", i+1))
			positive = positive || !stage.Negated()
		}
	}
	if until := r.Program.Until(); until != nil && until.Match(record) {
		v.terms = append(v.terms, "until")
	}
	for i := range r.Exceptions {
		if x := &r.Exceptions[i]; positive && x.InForce(e.Time) && x.Condition.Match(record) {
			v.exceptions = append(v.exceptions, x.Name)
		}
	}
	return v
}
