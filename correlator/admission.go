package correlator

import (
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/rule"
)

// Review evaluates the rules that deny requests (rule.Response.Deny) on one that is at admission, and returns
// what they conclude, at most one detection of each rule. The forms are the request's audit event as it will be: what admission does
// not tell, such as the verb, takes a form for each value that it may have, and a rule matches if it matches one of them.
// The action says whether the request is to be refused (event.ActionDeny).
//
// Who gets a detection from Review handles it like one from Run: the audit event of the same
// request makes the same detection (its ID is that of the request's session), which is then known.
//
// Nothing is published, and the events need not be kept.
func (c *Correlator) Review(forms []*event.Event) []*event.Detection {
	var found []*event.Detection
	x := c.matcher.Load()
	for _, t := range x.denying {
		if c.guard.isSuspended(t.rule.Name) {
			continue
		}
		if e := c.admits(t, forms); e != nil {
			found = append(found, c.refusal(t.rule, e, x.enforce))
		}
	}
	return found
}

// Reviews reports whether there are rules that Review evaluates.
func (c *Correlator) Reviews() bool { return len(c.matcher.Load().denying) > 0 }

// denies reports whether the term is the only one of a rule that denies requests.
func (t *term) denies() bool {
	return t.single && t.rule.Response != nil && t.rule.Response.Deny
}

// admits returns the first form that the rule matches, nil if there is none. A rule that panics matches none.
func (c *Correlator) admits(t *term, forms []*event.Event) (match *event.Event) {
	defer func() {
		if problem := recover(); problem != nil {
			c.guard.panicked(t.rule.Name, problem)
			match = nil
		}
	}()
	record := c.options.Schema.NewRecord()
	for _, e := range forms {
		record.Reset(e)
		if t.stage.Match(record) && !t.rule.Excepts(record, e.Time) {
			return e
		}
	}
	return nil
}

// refusal is the detection of a request that is at admission.
func (c *Correlator) refusal(r *rule.Rule, e *event.Event, enforce Enforce) *event.Detection {
	d, unfit := conclude(r, singleID(r, e), []*event.Event{e.Own()}, c.options.Clock(), c.options.Session)
	d.State = event.Final
	decide(d, "", enforce, r, event.ActionDeny, event.ActionWouldDeny)
	if d.Action == event.ActionDeny && r.Response.Quarantine != nil && unfit.why == "" {
		d.Action = event.ActionQuarantine
	}
	return d
}

// singleID is the ID of the detection that a rule of a single event makes of it. Where the rule denies requests, it is
// made at admission already, which knows the request by its session only: the audit event has that from the
// webhook, as the API server annotates it.
func singleID(r *rule.Rule, e *event.Event) string {
	request := requestOf(e)
	if r.Response != nil && r.Response.Deny && e.Audit != nil {
		if session := e.Audit.Annotations[event.AnnotationSession]; session != "" {
			request = "session " + session
		}
	}
	return detectionID(r.Name, "", request)
}
