package enforcement

import (
	"cmp"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/rule"
)

// Label is the label of namespaces that sets the mode there.
const Label = "portcullis.dev/mode"

// Namespaces knows the labels of namespaces. *namespaces.Watcher is one.
type Namespaces interface {
	// Label is the text of the namespace's Label, empty if it has none. It is not known for a
	// namespace that does not exist, as far as anybody knows.
	Label(namespace string) (mode string, known bool)
}

// Options are what an Enforcer needs.
type Options struct {
	// Mode is the one for all.
	Mode rule.Mode
	// Namespaces may be nil: then no namespace has a label.
	Namespaces Namespaces
	Protected  Protected
	// BreakGlass are the groups whose members pass every quarantine. They are protected too.
	BreakGlass []string
	Limits     Limits
	// InForce reports whether the subject is in quarantine already.
	InForce func(v1alpha1.Subject) bool
	// Tripped is called when the breaker begins to hold quarantines back, once until it has let one through again.
	Tripped    func(Trip)
	Registerer prometheus.Registerer
	// Now is the clock; time.Now if nil.
	Now func() time.Time
}

// Enforcer decides. Its methods may be called from any goroutine.
type Enforcer struct {
	opts      Options
	mode      atomic.Value // of rule.Mode
	guard     guard
	decisions *prometheus.CounterVec

	mutex   sync.Mutex
	breaker *breaker
}

// New makes an Enforcer.
func New(opts Options) (*Enforcer, error) {
	opts.Limits.PerRule = cmp.Or(opts.Limits.PerRule, DefaultPerRule)
	opts.Limits.Total = cmp.Or(opts.Limits.Total, DefaultTotal)
	if opts.Now == nil {
		opts.Now = time.Now
	}
	switch {
	case opts.Mode != rule.Observe && opts.Mode != rule.Enforce:
		return nil, fmt.Errorf("enforcement options: Mode is %q, want %s or %s", opts.Mode, rule.Observe, rule.Enforce)
	case opts.InForce == nil:
		return nil, errors.New("enforcement options: InForce is missing")
	case opts.Tripped == nil:
		return nil, errors.New("enforcement options: Tripped is missing")
	case opts.Registerer == nil:
		return nil, errors.New("enforcement options: Registerer is missing")
	case opts.Limits.PerRule < 0 || opts.Limits.Total < 0:
		return nil, errors.New("enforcement options: Limits are negative")
	}
	e := &Enforcer{opts: opts, guard: newGuard(opts.Protected, opts.BreakGlass), breaker: newBreaker(opts.Limits)}
	e.mode.Store(opts.Mode)
	if err := e.register(); err != nil {
		return nil, fmt.Errorf("enforcement metrics: %w", err)
	}
	return e, nil
}

// What a decision is, and why, as the metrics name it.
const (
	decidedEnforce   = "enforce"
	decidedObserve   = "observe"
	decidedNamespace = "observe-namespace"
	decidedProtected = "observe-protected"
	decidedBreaker   = "observe-breaker"
)

func (e *Enforcer) register() error {
	e.decisions = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "portcullis_enforcement_decisions_total",
		Help: "Decisions on whether a response is carried out, or only told because of the mode, the namespace's label, a protected subject, or the breaker.",
	}, []string{"decision"})
	for _, d := range []string{decidedEnforce, decidedObserve, decidedNamespace, decidedProtected, decidedBreaker} {
		e.decisions.WithLabelValues(d)
	}
	open := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "portcullis_enforcement_breakers_open",
		Help: "Rules, and with them all rules together as one, that are held back because they made too many quarantines within an hour.",
	}, func() float64 {
		e.mutex.Lock()
		defer e.mutex.Unlock()
		return float64(e.breaker.open(e.opts.Now()))
	})
	return errors.Join(e.opts.Registerer.Register(e.decisions), e.opts.Registerer.Register(open))
}

// SetMode changes the mode for all.
func (e *Enforcer) SetMode(m rule.Mode) { e.mode.Store(m) }

// Modes are those that are set for a rule; either may be empty.
type Modes struct {
	// Configured is what the configuration says of the rule, Rule what its file does.
	Configured, Rule rule.Mode
}

// Mode is the one that applies to a response about a pod in the namespace, which may be empty. It says
// why where a namespace overrules what is set for the rule.
func (e *Enforcer) Mode(namespace string, m Modes) (mode rule.Mode, why string) {
	label := e.label(namespace)
	global, _ := e.mode.Load().(rule.Mode)
	mode = cmp.Or(m.Configured, m.Rule, rule.Mode(label), global)
	switch {
	case label == "" || rule.Mode(label) == rule.Enforce:
		return mode, ""
	case rule.Mode(label) == rule.Observe:
		return rule.Observe, fmt.Sprintf("namespace %s has the label %s=%s", namespace, Label, rule.Observe)
	default:
		return rule.Observe, fmt.Sprintf("namespace %s has the label %s=%q, which is neither %s nor %s", namespace, Label, label, rule.Observe, rule.Enforce)
	}
}

func (e *Enforcer) label(namespace string) string {
	if namespace == "" || e.opts.Namespaces == nil {
		return ""
	}
	label, _ := e.opts.Namespaces.Label(namespace)
	return label
}

// Asked is what a rule asks for.
type Asked struct {
	Modes
	// Subjects are whom it asks to put into quarantine; none for other responses.
	Subjects []v1alpha1.Subject
}

// Decide says whether what is asked for is carried out, and if it is not, why; the reason is empty where it is
// only that the mode is observe. A decision to enforce counts in the breaker: decide once for each detection.
func (e *Enforcer) Decide(d *event.Detection, a Asked) (enforce bool, why string) {
	mode, why := e.Mode(d.Pod.Namespace, a.Modes)
	switch {
	case why != "":
		return e.observe(decidedNamespace, why)
	case mode != rule.Enforce:
		return e.observe(decidedObserve, "")
	}
	for _, s := range a.Subjects {
		if why = e.guard.protects(d, s); why != "" {
			return e.observe(decidedProtected, why)
		}
	}
	if why = e.count(d, a.Subjects); why != "" {
		return e.observe(decidedBreaker, why)
	}
	e.decisions.WithLabelValues(decidedEnforce).Inc()
	return true, ""
}

func (e *Enforcer) observe(decision, why string) (bool, string) {
	e.decisions.WithLabelValues(decision).Inc()
	return false, why
}

// count counts those who are not in quarantine yet, or says why they must not be.
func (e *Enforcer) count(d *event.Detection, subjects []v1alpha1.Subject) (why string) {
	fresh := 0
	for _, s := range subjects {
		if !e.opts.InForce(s) {
			fresh++
		}
	}
	if fresh == 0 {
		return ""
	}
	e.mutex.Lock()
	trip, news := e.breaker.take(d.Rule.Name, fresh, e.opts.Now())
	e.mutex.Unlock()
	if trip == nil {
		return ""
	}
	if news {
		e.opts.Tripped(*trip)
	}
	return trip.String()
}

// Seed tells of a quarantine that the rule had made before the process started, by the name of its object.
func (e *Enforcer) Seed(ruleName, object string, at time.Time) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	e.breaker.seed(ruleName, object, at, e.opts.Now())
}
