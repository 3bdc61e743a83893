package quarantine

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/portcullis-dev/portcullis/event"
)

// The reasons and actions of Events about responses that are no quarantine.
const (
	reasonWouldDeny        = "PortcullisWouldDeny"
	reasonWouldKillSession = "PortcullisWouldKillSession"
	reasonSessionKilled    = "PortcullisSessionKilled"
	actionWouldDeny        = "WouldDeny"
	actionWouldKillSession = "WouldKillSession"
	actionKillSession      = "KillSession"
)

// RuleDenied tells of a request that a rule refused at admission.
func (e *Events) RuleDenied(d *event.Detection) {
	e.onPod(d.Pod, corev1.EventTypeWarning, reasonDenied, actionDeny, fmt.Sprintf("A request by user \"%s\" was denied by rule %s: %s. Detection %s.",
		shown(d.User, maxShownName), shown(d.Rule.Name, maxShownName), shown(d.Rule.Title, maxShownReason), shown(d.ID, maxShownName)))
}

// WouldDeny tells of a request that enforcing the rule would have refused.
func (e *Events) WouldDeny(d *event.Detection) {
	e.onPod(d.Pod, corev1.EventTypeWarning, reasonWouldDeny, actionWouldDeny, fmt.Sprintf("A request by user \"%s\" would be denied by rule %s if it were enforced: %s. Detection %s.",
		shown(d.User, maxShownName), shown(d.Rule.Name, maxShownName), shown(d.Rule.Title, maxShownReason), shown(d.ID, maxShownName)))
}

// WouldKillSession tells of a session that enforcing the rule would have ended.
func (e *Events) WouldKillSession(d *event.Detection) {
	e.onPod(d.Pod, corev1.EventTypeWarning, reasonWouldKillSession, actionWouldKillSession, fmt.Sprintf("The exec session would be ended by rule %s if it were enforced: %s. Detection %s.",
		shown(d.Rule.Name, maxShownName), shown(d.Rule.Title, maxShownReason), shown(d.ID, maxShownName)))
}

// SessionKilled tells of an exec session that was ended.
func (e *Events) SessionKilled(pod event.Pod, session, why string) {
	e.onPod(pod, corev1.EventTypeWarning, reasonSessionKilled, actionKillSession, fmt.Sprintf("Exec session %s was ended: %s.", shown(session, maxShownName), shown(why, maxShownReason)))
}
