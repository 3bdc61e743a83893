package doctor

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/url"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"

	"github.com/portcullis-dev/portcullis/pki"
)

// again is what to do about an object of the chart that is not as the chart made it.
const again = "helm upgrade portcullis … brings it back as it should be."

// door is a way into pods that the API server must ask about.
type door struct {
	resource, sub string
	operation     admissionv1.OperationType
	scope         admissionv1.ScopeType
}

// String is the door as rules name it.
func (d door) String() string { return d.resource + "/" + d.sub }

// doors are all of them.
func doors() []door {
	const connect, namespaced = admissionv1.Connect, admissionv1.NamespacedScope
	return []door{
		{"pods", "exec", connect, namespaced},
		{"pods", "attach", connect, namespaced},
		{"pods", "portforward", connect, namespaced},
		// kubectl debug.
		{"pods", "ephemeralcontainers", admissionv1.Update, namespaced},
		{"pods", "proxy", connect, namespaced},
		{"services", "proxy", connect, namespaced},
		// The kubelet's own exec. Nodes are in no namespace.
		{"nodes", "proxy", connect, admissionv1.ClusterScope},
	}
}

// checkWebhook: does the API server ask Portcullis before it lets somebody in?
func (p *patient) checkWebhook() Check {
	const name = "webhook"
	if c, failed := p.unknown(name, "webhook"); failed {
		return c
	}
	if p.webhook == nil || len(p.webhook.Webhooks) == 0 {
		return Check{name, Fail, "there is no ValidatingWebhookConfiguration " + webhookName + ": no exec is denied to anybody", again}
	}
	if open := unguarded(rulesOf(p.webhook.Webhooks)); len(open) > 0 {
		return Check{name, Fail, "nobody asks it about " + strings.Join(open, ", "), again}
	}
	for i := range p.webhook.Webhooks {
		w := &p.webhook.Webhooks[i]
		for _, trouble := range []func(*admissionv1.WebhookClientConfig) (State, string, string){p.addressTrouble, p.trustTrouble, p.pathTrouble} {
			if state, says, do := trouble(&w.ClientConfig); says != "" {
				return Check{name, state, says, do}
			}
		}
		if says := narrowed(w); says != "" {
			return Check{name, Warn, "somebody has narrowed it: " + says + ", so some requests are let through unasked", again}
		}
	}
	says := "guards exec, attach, portforward, ephemeralcontainers and proxy"
	if slices.ContainsFunc(p.webhook.Webhooks, func(w admissionv1.ValidatingWebhook) bool { return len(w.ClientConfig.CABundle) == 0 }) {
		says += "; the API server trusts it by the authorities of its own host"
	}
	if p.failsClosed() {
		return Check{name, OK, says + "; while the server is down it lets nobody in", ""}
	}
	return Check{name, OK, says + "; while the server is down it lets everybody in", ""}
}

// failsClosed says that nobody gets in while the server is down.
func (p *patient) failsClosed() bool {
	return p.webhook != nil && slices.ContainsFunc(p.webhook.Webhooks, func(w admissionv1.ValidatingWebhook) bool {
		return w.FailurePolicy == nil || *w.FailurePolicy == admissionv1.Fail // Fail is what API servers take for none
	})
}

func rulesOf(webhooks []admissionv1.ValidatingWebhook) (rules []admissionv1.RuleWithOperations) {
	for i := range webhooks {
		rules = append(rules, webhooks[i].Rules...)
	}
	return rules
}

// unguarded are the doors that no rule names.
func unguarded(rules []admissionv1.RuleWithOperations) (open []string) {
	for _, d := range doors() {
		if !slices.ContainsFunc(rules, d.guardedBy) {
			open = append(open, d.String())
		}
	}
	return open
}

func (d door) guardedBy(r admissionv1.RuleWithOperations) bool {
	scope := admissionv1.AllScopes
	if r.Scope != nil {
		scope = *r.Scope
	}
	return (slices.Contains(r.Operations, d.operation) || slices.Contains(r.Operations, admissionv1.OperationAll)) &&
		(slices.Contains(r.APIGroups, "") || slices.Contains(r.APIGroups, "*")) &&
		(slices.Contains(r.APIVersions, "v1") || slices.Contains(r.APIVersions, "*")) &&
		(scope == admissionv1.AllScopes || scope == d.scope) &&
		slices.ContainsFunc(r.Resources, func(have string) bool {
			return have == d.String() || have == "*/*" || have == d.resource+"/*" || have == "*/"+d.sub
		})
}

// narrowed is by what some requests are let through unasked.
func narrowed(w *admissionv1.ValidatingWebhook) string {
	switch {
	case selects(w.NamespaceSelector):
		return "it has a namespaceSelector"
	case selects(w.ObjectSelector):
		return "it has an objectSelector"
	case len(w.MatchConditions) > 0:
		return "it has matchConditions"
	default:
		return ""
	}
}

// addressTrouble is why the API server asks somebody else. Where a URL leads only the network knows.
func (p *patient) addressTrouble(c *admissionv1.WebhookClientConfig) (state State, says, do string) {
	if c.Service != nil && c.Service.Namespace != p.namespace {
		return Fail, fmt.Sprintf("it leads to the namespace %s, not to %s", c.Service.Namespace, p.namespace), again
	}
	return OK, "", ""
}

// trustTrouble is why the API server cannot trust the server's certificate.
func (p *patient) trustTrouble(c *admissionv1.WebhookClientConfig) (state State, says, do string) {
	switch {
	case len(c.CABundle) > 0 && p.hasValid(c.CABundle):
		return OK, "", ""
	case len(c.CABundle) > 0:
		return Fail, "its CA bundle has no certificate that is valid now", p.whoTells()
	case p.config == nil:
		return Warn, "it has no CA bundle, so the API server trusts the server only by the authorities of its own host", p.whoTells()
	case p.othersTell() && !p.injected():
		return OK, "", ""
	default:
		return Fail, "it has no CA bundle, so the API server cannot trust the server, and asks nobody", p.whoTells()
	}
}

// hasValid reports whether a certificate of the bundle is valid now.
func (p *patient) hasValid(bundle []byte) bool {
	for rest := bytes.TrimSpace(bundle); len(rest) > 0; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return false
		}
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil && p.now.Before(cert.NotAfter) && p.now.Add(clocksApart).After(cert.NotBefore) {
			return true
		}
	}
	return false
}

// othersTell says that the server leaves the bundle to whoever issues its certificate.
func (p *patient) othersTell() bool {
	return p.config != nil && p.config.PKI.ServingFiles.Certificate != "" && p.config.PKI.ServingFiles.CA == ""
}

// injected says that cert-manager has been asked to write the bundle.
func (p *patient) injected() bool {
	for key := range p.webhook.Annotations {
		if strings.HasPrefix(key, "cert-manager.io/inject-") {
			return true
		}
	}
	return false
}

// whoTells is what to do about the bundle, by who writes it.
func (p *patient) whoTells() string {
	log := p.kubectl("logs statefulset/portcullis")
	switch {
	case p.othersTell() && p.injected():
		return "The server's certificate is not its own, and cert-manager is asked to write the bundle: is its CA injector well, " +
			"and does the annotation cert-manager.io/inject-… name what is there?\n" +
			"kubectl describe validatingwebhookconfiguration " + webhookName
	case p.othersTell():
		return "The server's certificate is not its own, and it has no file of the CA (pki.servingFiles.ca): whoever issues the certificate has to write " +
			"the bundle, by hand or by cert-manager's CA injector.\nkubectl edit validatingwebhookconfiguration " + webhookName
	case p.config == nil:
		return "The server writes the bundle, unless its certificate is somebody else's and it has no file of the CA. Its log says why it could not:" + log
	case p.config.PKI.ServingFiles.Certificate != "":
		return "The server's certificate is not its own. It writes the bundle from the ca.crt that is beside it, in the Secret that " +
			"pki.servingTLSSecret names in the chart's values: is it there, and valid? The log says why it could not be written:" + log
	default:
		return "The server writes the bundle when it starts. Its log says why it could not:" + log
	}
}

// pathTrouble is why the server would not answer the API server: it answers under a secret path alone, whoever
// has issued its certificate. Behind a URL something may put the path right.
func (p *patient) pathTrouble(c *admissionv1.WebhookClientConfig) (state State, says, do string) {
	path := ""
	state, says = Fail, "it has no path that the server answers, so nobody is denied"
	switch {
	case c.Service != nil && c.Service.Path != nil:
		path = *c.Service.Path
	case c.URL != nil:
		state, says = Warn, "its URL has no path that the server answers: nobody is denied, unless a proxy before the server puts that right"
		if u, err := url.Parse(*c.URL); err == nil {
			path = u.Path
		}
	}
	if pki.IsAdmissionPath(path) {
		return OK, "", ""
	}
	return state, says, "The server writes the path within a minute. Its log says why it could not:" + p.kubectl("logs statefulset/portcullis")
}
