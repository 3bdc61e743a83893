package doctor

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/portcullis-dev/portcullis/status"
)

// clockWorthTelling is from which offset on people should set a clock, although times are corrected by it.
const clockWorthTelling = time.Minute

// addressesOf are those of a slice of the Service "kubernetes".
func addressesOf(s *discoveryv1.EndpointSlice) (found []string) {
	for _, port := range s.Ports {
		if port.Port == nil || port.Name != nil && *port.Name != "" && *port.Name != "https" {
			continue
		}
		for _, endpoint := range s.Endpoints {
			if ready := endpoint.Conditions.Ready; ready != nil && !*ready {
				continue
			}
			for _, ip := range endpoint.Addresses {
				found = append(found, net.JoinHostPort(ip, fmt.Sprint(*port.Port)))
			}
		}
	}
	return found
}

// checkAPIServers: do the audit events of each API server arrive?
func (p *patient) checkAPIServers() []Check {
	if p.says == nil {
		return []Check{p.silent("audit")}
	}
	var checks []Check
	for i := range p.says.APIServers {
		checks = append(checks, p.checkAPIServer(&p.says.APIServers[i]))
	}
	for _, address := range p.apiServers {
		if !slices.ContainsFunc(p.says.APIServers, func(a status.APIServer) bool { return a.Address == address }) && p.says.Left["apiServers"] == 0 {
			checks = append(checks, Check{"audit " + address, Fail, "the server knows nothing of this API server",
				"If it is new, wait a minute. Else: may the server list EndpointSlices?" + p.kubectl("logs statefulset/portcullis")})
		}
	}
	if c, failed := p.unknown("audit", "API servers"); failed {
		checks = append(checks, c)
	}
	if len(checks) == 0 {
		checks = append(checks, Check{"audit", Fail, "no API server is known", "Look at the server's log:" + p.kubectl("logs statefulset/portcullis")})
	}
	return checks
}

func (p *patient) checkAPIServer(a *status.APIServer) Check {
	c := Check{Name: "audit " + a.Address, Says: a.State}
	name := strings.TrimPrefix(a.Source, "audit/")
	if name != "" {
		c.Name += " (" + name + ")"
	}
	since := p.ago(a.Since)
	switch a.State {
	case "live":
		c.State = OK
		c.Says = fmt.Sprintf("its events arrive, %s late", short(a.Lag.Duration()))
		if a.Offset.Duration().Abs() >= clockWorthTelling {
			c.State = Warn
			c.Says += fmt.Sprintf("; its clock is off by %s (corrected, to %s)", short(a.Offset.Duration()), short(a.Tolerance.Duration()))
			c.Do = "Set the API server's clock: is its time service running?"
		}
	case "late":
		c.State = Warn
		c.Says = fmt.Sprintf("its events arrive %s late, too late to be joined, since %s", short(a.Lag.Duration()), since)
		c.Do = "Check its --audit-webhook-batch-max-wait (30s is right) and the network from it to the sink."
	case "silent":
		c.State = Fail
		c.Says = fmt.Sprintf("no event of it has arrived for %s", since)
		c.Do = "Portcullis is blind to what it does. Check its flags --audit-webhook-config-file and --audit-policy-file, its log, and that it reaches the sink. " +
			"This makes the files that they name:\nportcullisctl audit config --help"
	case "filtered":
		c.State = Fail
		c.Says = fmt.Sprintf("events of it arrive, but not all, for %s", since)
		c.Do = "Its audit policy leaves out what Portcullis needs: compare it with the one that portcullisctl audit config writes."
	case "unreachable":
		c.State = Fail
		c.Says = fmt.Sprintf("it has not answered the server for %s, so nothing is known of its events", since)
		c.Do = "Is it up? May the server's pod connect to it (network policies)? Is its certificate valid for kubernetes.default.svc?"
	case "starting":
		c.State = Warn
		c.Says = fmt.Sprintf("no event of it has arrived yet, since %s", since)
		c.Do = "Wait a minute or two and ask again."
	default:
		c.State, c.Do = Unknown, "Use the portcullisctl of the server's version."
	}
	return c
}

// count is a number with what it counts.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// short is a time span for people.
func short(d time.Duration) string {
	if d.Abs() < 10*time.Second {
		return d.Round(10 * time.Millisecond).String()
	}
	if d < 0 {
		return "-" + duration.HumanDuration(-d)
	}
	return duration.HumanDuration(d)
}

// checkLosses: was everything seen in the last hour?
func (p *patient) checkLosses() Check {
	const name = "losses"
	if p.says == nil {
		return p.silent(name)
	}
	var says []string
	var own, others int
	var lost uint64
	for _, l := range p.says.Losses {
		family, _, _ := strings.Cut(l.Source, "/")
		switch {
		case l.Cause == "audit-stream-silent" && l.To.IsZero():
			continue // The API server's own check says so.
		case family == "join" || family == "pod":
			others++
			lost += l.Lost
			continue
		}
		own++
		if len(says) < 4 {
			says = append(says, p.loss(l))
		}
	}
	if own > len(says) {
		says = append(says, fmt.Sprintf("%d more", own-len(says)))
	}
	if others > 0 {
		says = append(says, fmt.Sprintf("%s did more than is kept of one (%d events): the loss is theirs alone", count(others, "pod or user", "pods or users"), lost))
	}
	if len(says) == 0 {
		return Check{name, OK, "nothing was lost in the last hour, nodes apart", ""}
	}
	return Check{name, Warn, strings.Join(says, "; "),
		"Detections of that time say what they may lack (coverage). The server's log has the details. The whole list:\nportcullisctl doctor -o json"}
}

// loss is a loss for people.
func (p *patient) loss(l status.Loss) string {
	text := l.Cause
	if l.Source != "" {
		text = l.Source + ": " + text
	}
	if l.Lost > 0 {
		text += fmt.Sprintf(", %d lost", l.Lost)
	}
	if l.To.IsZero() {
		return text + ", for " + p.ago(l.From)
	}
	return text + ", until " + p.ago(l.To) + " ago"
}

// checkRejects: could every audit event be read?
func (p *patient) checkRejects() Check {
	const name = "set aside"
	if p.says == nil {
		return p.silent(name)
	}
	r := p.says.Rejects
	if r.Events == 0 && r.Newest.IsZero() {
		return Check{name, OK, "every audit event could be read", ""}
	}
	if r.Events == 0 { // A body that was too large to be taken, or the disk had no room.
		return Check{name, Warn, fmt.Sprintf("audit events could not be read, nor kept aside; newest %s ago from %s: %s", p.ago(r.Newest), r.APIServer, r.Reason),
			"They are lost. If the reason does not say what to change: is there room on the server's volume?"}
	}
	says := count(r.Events, "audit event", "audit events") + " could not be read, kept aside"
	if !r.Newest.IsZero() {
		says += fmt.Sprintf("; newest %s ago from %s: %s", p.ago(r.Newest), r.APIServer, r.Reason)
	}
	return Check{name, Warn, says,
		"Somebody may be hiding something, or the API server is of a kind that Portcullis does not know. " +
			"The events are files in the folder rejects of the server's volume: look at them, then remove them."}
}

// checkNotifications: did everybody hear of everything who should?
func (p *patient) checkNotifications() Check {
	const name = "notifications"
	if p.says == nil {
		return p.silent(name)
	}
	var says []string
	for _, u := range p.says.Unsent {
		var missed []string
		if u.Dropped > 0 {
			missed = append(missed, fmt.Sprintf("%d that there was no room for", u.Dropped))
		}
		if u.Rejected > 0 {
			missed = append(missed, fmt.Sprintf("%d that it did not want", u.Rejected))
		}
		says = append(says, u.Sink+" never got "+strings.Join(missed, " and ")+", until "+p.ago(u.Newest)+" ago")
	}
	if len(says) == 0 {
		return Check{name, OK, "none was lost in the last hour", ""}
	}
	return Check{name, Warn, strings.Join(says, "; "),
		"Is the receiver up, and does it take what it is sent? The server's log says what it answered. The detections themselves are Events of their pods and, if the rule says so, Quarantines:" +
			p.kubectl("logs statefulset/portcullis")}
}
