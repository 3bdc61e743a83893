package app

import (
	"context"
	"fmt"
	"time"

	"k8s.io/client-go/metadata"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
	"github.com/portcullis-dev/portcullis/enforcement"
	"github.com/portcullis-dev/portcullis/enforcement/namespaces"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/quarantine"
	"github.com/portcullis-dev/portcullis/record"
	"github.com/portcullis-dev/portcullis/rule"
)

// labelPatience is how long the first decision may wait for the namespaces' labels.
const labelPatience = 10 * time.Second

// buildEnforcement makes what decides whether responses are carried out.
func (s *Server) buildEnforcement(context.Context) error {
	client, err := metadata.NewForConfig(s.opts.REST)
	if err != nil {
		return fmt.Errorf("metadata client: %w", err)
	}
	s.namespaces, err = namespaces.New(namespaces.Options{Client: client, Logger: s.logger("namespaces")})
	if err != nil {
		return err
	}
	cfg := s.opts.Config.Gate
	s.enforcer, err = enforcement.New(enforcement.Options{
		Mode:       rule.Mode(s.opts.Config.Mode),
		Namespaces: s.namespaces,
		Protected: enforcement.Protected{
			Namespaces: cfg.Protected.Namespaces, Users: cfg.Protected.Users, Groups: cfg.Protected.Groups,
		},
		BreakGlass: cfg.BreakGlassGroups,
		Limits:     enforcement.Limits{PerRule: cfg.Breaker.PerRulePerHour, Total: cfg.Breaker.TotalPerHour},
		InForce:    func(subject v1alpha1.Subject) bool { return s.quarantine.InForce(subject) },
		Tripped:    s.tripped,
		Registerer: s.opts.Registry,
		Now:        s.clock.Now,
	})
	if err != nil {
		return err
	}
	s.seedBreaker()
	return nil
}

// tripped shouts: somebody has to look at a rule that quarantines so many.
func (s *Server) tripped(trip enforcement.Trip) {
	s.logger("enforcement").Error("rules quarantine too many: they only tell for now", "rule", trip.Rule, "why", trip.String())
	s.self.warn("BreakerOpen", "Quarantines are held back, their rules only tell for now. "+trip.String())
}

// modes are those that are set for a rule.
func (s *Server) modes(r *rule.Rule) enforcement.Modes {
	return enforcement.Modes{Configured: rule.Mode(s.opts.Config.Rules[r.Name].Mode), Rule: r.Mode}
}

// enforce is correlator.Options.Enforce.
func (s *Server) enforce(r *rule.Rule, d *event.Detection) (bool, string) {
	asked := enforcement.Asked{Modes: s.modes(r)}
	if spec, ok := specOf(r); ok {
		subjects, err := quarantine.Subjects(d, spec)
		if err != nil { // Found out when it is carried out, and told then.
			subjects = nil
		}
		asked.Subjects = subjects
	}
	return s.enforcer.Decide(d, asked)
}

// mayEnforce reports whether any rule in force could have anything denied.
func (s *Server) mayEnforce() bool {
	rules := s.rules.Rules()
	known := s.responding.Load()
	if known == nil || known.of != rules {
		known = s.respondingOf(rules)
		s.responding.Store(known)
	}
	return known.enforced || known.labelled && s.namespaces.Any(string(rule.Enforce))
}

// responding says of some rules whether responses of theirs may be carried out: somewhere, or in
// namespaces whose label says so.
type responding struct {
	of                 *rule.Set
	enforced, labelled bool
}

func (s *Server) respondingOf(rules *rule.Set) *responding {
	out := &responding{of: rules}
	for _, r := range rules.All() {
		if r.Response == nil {
			continue
		}
		m := s.modes(r)
		mode, _ := s.enforcer.Mode("", m)
		out.enforced = out.enforced || mode == rule.Enforce
		out.labelled = out.labelled || m == (enforcement.Modes{})
	}
	return out
}

// joining runs the correlator, once the namespaces' labels are known: what is decided without them is decided for good.
func (s *Server) joining(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, labelPatience)
	err := s.namespaces.WaitSynced(limited)
	cancel()
	if err != nil && ctx.Err() == nil {
		s.logger("enforcement").Warn("the namespaces' labels are not known yet: responses go by the mode of rules and configuration until they are", "error", err)
	}
	return s.correlator.Run(ctx)
}

// seedBreaker tells the breaker of the quarantines of the last hour.
func (s *Server) seedBreaker() {
	s.record.Since(s.clock.Now().Add(-time.Hour), func(_ string, r record.Record) {
		for _, q := range r.Quarantines {
			s.enforcer.Seed(r.Rule, q.Object, r.Begun)
		}
	})
}
