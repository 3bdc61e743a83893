package doctor

import (
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// bolt is a policy by which API servers themselves refuse who is in quarantine, with its binding. What is
// not there is nil.
type bolt struct {
	policy  *admissionv1.ValidatingAdmissionPolicy
	binding *admissionv1.ValidatingAdmissionPolicyBinding
}

// checkPolicies: is somebody in quarantine refused while no process of Portcullis runs?
func (p *patient) checkPolicies() Check {
	const name = "policies"
	if c, failed := p.unknown(name, "policies"); failed {
		return c
	}
	if says := p.boltTrouble(policyName); says != "" {
		consequence := "while the server is down nobody is refused"
		if p.failsClosed() {
			consequence = "while the server is down the webhook's failure policy alone keeps them out"
		}
		return Check{name, Warn, says + ": " + consequence,
			"If gate.policy.enabled is not off on purpose in the chart's values: " + again}
	}
	if says := p.boltTrouble(mirrorName); says != "" && (p.config == nil || p.config.Gate.Mirror) {
		return Check{name, Warn, says + ": nobody may be refused right after an API server's start, for half a minute, while the server is down",
			"If gate.policy.mirror is not off on purpose in the chart's values: " + again}
	}
	return Check{name, OK, "the API server itself refuses who is in quarantine also while the server is down", ""}
}

// boltTrouble is why a policy does not refuse whom it should.
func (p *patient) boltTrouble(name string) string {
	b := p.bolts[name]
	switch {
	case b == nil || b.policy == nil:
		return "there is no ValidatingAdmissionPolicy " + name
	case b.binding == nil:
		return "there is no ValidatingAdmissionPolicyBinding " + name
	}
	if open := b.open(); len(open) > 0 {
		return fmt.Sprintf("the policy %s does not cover %s", name, strings.Join(open, ", "))
	}
	if narrows(b.policy.Spec.MatchConstraints) {
		return fmt.Sprintf("somebody has narrowed the policy %s", name)
	}
	if says := p.bindingTrouble(&b.binding.Spec, name); says != "" {
		return fmt.Sprintf("the binding %s %s", name, says)
	}
	return ""
}

// open are the doors that the policy says nothing about.
func (b *bolt) open() []string {
	var rules []admissionv1.RuleWithOperations
	if m := b.policy.Spec.MatchConstraints; m != nil {
		for i := range m.ResourceRules {
			rules = append(rules, m.ResourceRules[i].RuleWithOperations)
		}
	}
	return unguarded(rules)
}

func (p *patient) bindingTrouble(b *admissionv1.ValidatingAdmissionPolicyBindingSpec, name string) string {
	switch {
	case b.PolicyName != name:
		return "binds another policy, " + b.PolicyName
	case !slices.Contains(b.ValidationActions, admissionv1.Deny):
		return "does not deny"
	case b.MatchResources != nil && (narrows(b.MatchResources) || len(b.MatchResources.ResourceRules) > 0):
		return "is narrowed by its matchResources"
	case b.ParamRef == nil || b.ParamRef.Selector == nil:
		return "goes by no quarantine, or by one alone"
	case name == mirrorName && b.ParamRef.Namespace != p.namespace:
		return fmt.Sprintf("looks into the namespace %s, not into %s", b.ParamRef.Namespace, p.namespace)
	case name == policyName && selects(b.ParamRef.Selector):
		return "does not go by all quarantines"
	default:
		return ""
	}
}

// narrows reports whether some requests are left out that the rules name.
func narrows(m *admissionv1.MatchResources) bool {
	return selects(m.NamespaceSelector) || selects(m.ObjectSelector) || len(m.ExcludeResourceRules) > 0
}

// selects reports whether a selector leaves anything out.
func selects(s *metav1.LabelSelector) bool {
	return s != nil && len(s.MatchLabels)+len(s.MatchExpressions) > 0
}
