package doctor

import (
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// overdue is how long after its end a quarantine may still be there.
	overdue = 5 * time.Minute
	// lagging is from when on the join is too far behind. Half an hour is more than the lateness of most installations.
	lagging = 30 * time.Minute
)

// checkRules: are the rules in force?
func (p *patient) checkRules() Check {
	const name = "rules"
	if p.says == nil {
		return p.silent(name)
	}
	r := p.says.Rules
	says := fmt.Sprintf("%d are in force", r.Loaded)
	lag := p.says.Server.WatermarkLag.Duration()
	switch {
	case r.Refused:
		return Check{name, Fail, says + ", but the files have changed and are not right: those before go on",
			"The server's Events say what is wrong, and so does portcullisctl rule check:" + p.kubectl("describe pod -l app.kubernetes.io/component=server")}
	case r.Loaded == 0:
		return Check{name, Fail, "there are none: nothing is detected", "Set config.shippedRules, or give it rules of your own."}
	case r.Suspended > 0:
		return Check{name, Warn, fmt.Sprintf("%s, %d of them suspended because they were too slow", says, r.Suspended),
			"The server's log names them:" + p.kubectl("logs statefulset/portcullis")}
	case lag > lagging:
		return Check{name, Warn, fmt.Sprintf("%s; what waits for late events is %s behind", says, short(lag)), "Some source is very late: see audit and nodes above."}
	}
	return Check{name, OK, says, ""}
}

// checkQuarantines: who is denied, and does that end when it should?
func (p *patient) checkQuarantines() Check {
	const name = "quarantines"
	if err := p.unread["quarantines"]; apierrors.IsNotFound(err) || apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse) {
		return Check{name, Fail, "this cluster knows no quarantines: their definition is missing", "helm upgrade portcullis … brings it back."}
	}
	if c, failed := p.unknown(name, "quarantines"); failed {
		return c
	}
	late := 0
	for i := range p.quarantine {
		if end := p.quarantine[i].Spec.ExpiresAt; end != nil && p.now.Sub(end.Time) > overdue {
			late++
		}
	}
	says := fmt.Sprintf("%d are there", len(p.quarantine))
	switch {
	case late > 0:
		return Check{name, Warn, fmt.Sprintf("%s, %d of them expired and not removed", says, late),
			"The server removes them when it runs: see server. They deny nobody any more."}
	case len(p.quarantine) == 0:
		return Check{name, OK, "nobody is denied", ""}
	}
	return Check{name, OK, says + ": portcullisctl quarantine list", ""}
}
