package charts

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
)

// TestRights pins every right that the chart gives, one line a rule: whoever adds
// one sees it here and in the review.
func TestRights(t *testing.T) {
	want := map[string][]string{
		"ClusterRole portcullis": {
			"admissionregistration.k8s.io/validatingwebhookconfigurations [portcullis]: get update",
			"authentication.k8s.io/tokenreviews: create",
			"authorization.k8s.io/subjectaccessreviews: create",
			"endpoints: get",
			"namespaces: list watch",
			"pods: get list watch",
			"discovery.k8s.io/endpointslices: list",
			"events.k8s.io/events: create patch",
			"portcullis.dev/quarantines/status: patch",
			"portcullis.dev/quarantines: create delete get list patch update watch",
		},
		"Role portcullis": {
			"configmaps [portcullis-canary]: get",
			"configmaps [portcullis-status]: patch",
			"configmaps [portcullis-trust]: get update",
			"secrets [portcullis-serving portcullis-sink-ca]: get update",
			"secrets [portcullis-sink-tokens]: get",
			"services [portcullis]: get",
		},
		"ClusterRole portcullis-metrics-reader": {"/metrics: get"},
		"ClusterRole portcullis-quarantiner":    {"portcullis.dev/quarantines: create get list watch"},
		"ClusterRole portcullis-releaser":       {"portcullis.dev/quarantines: delete get list watch"},
		"ClusterRole portcullis-viewer":         {"portcullis.dev/quarantines: get list watch"},
	}
	for _, rules := range want {
		sort.Strings(rules)
	}
	eachScenario(t, func(t *testing.T, all objects) {
		if diff := cmp.Diff(want, rights(all)); diff != "" {
			t.Errorf("rights (-want +got):\n%s", diff)
		}
	})
}

// rights are the rules of every role, as text.
func rights(all objects) map[string][]string {
	got := map[string][]string{}
	add := func(name string, rules []rbacv1.PolicyRule) {
		for _, rule := range rules {
			got[name] = append(got[name], describe(rule))
		}
		sort.Strings(got[name])
	}
	for _, obj := range all {
		switch role := obj.(type) {
		case *rbacv1.ClusterRole:
			add("ClusterRole "+role.Name, role.Rules)
		case *rbacv1.Role:
			add("Role "+role.Name, role.Rules)
		}
	}
	return got
}

func describe(rule rbacv1.PolicyRule) string {
	what := slices.Clone(rule.NonResourceURLs)
	for _, group := range rule.APIGroups {
		for _, resource := range rule.Resources {
			what = append(what, strings.TrimPrefix(group+"/"+resource, "/"))
		}
	}
	names := ""
	if len(rule.ResourceNames) > 0 {
		names = fmt.Sprintf(" %v", rule.ResourceNames)
	}
	verbs := slices.Sorted(slices.Values(rule.Verbs))
	return strings.Join(what, ", ") + names + ": " + strings.Join(verbs, " ")
}

func TestNoWildcards(t *testing.T) {
	eachScenario(t, func(t *testing.T, all objects) {
		for role, rules := range rights(all) {
			for _, rule := range rules {
				if strings.Contains(rule, "*") {
					t.Errorf("%s may %s", role, rule)
				}
			}
		}
	})
}

// TestBindings: only the server is bound to anything, and only to its own roles.
func TestBindings(t *testing.T) {
	want := []rbacv1.Subject{{Kind: "ServiceAccount", Name: "portcullis", Namespace: namespace}}
	eachScenario(t, func(t *testing.T, all objects) {
		for _, obj := range all {
			switch b := obj.(type) {
			case *rbacv1.ClusterRoleBinding:
				if b.RoleRef.Name != "portcullis" || !cmp.Equal(want, b.Subjects) {
					t.Errorf("cluster role binding %s: %+v to %+v", b.Name, b.RoleRef, b.Subjects)
				}
			case *rbacv1.RoleBinding:
				if b.RoleRef.Name != "portcullis" || b.RoleRef.Kind != "Role" || !cmp.Equal(want, b.Subjects) {
					t.Errorf("role binding %s: %+v to %+v", b.Name, b.RoleRef, b.Subjects)
				}
			}
		}
	})
}

// TestReleaseIsADecisionOfItsOwn: no role that people have anyway lets them release.
func TestReleaseIsADecisionOfItsOwn(t *testing.T) {
	eachScenario(t, func(t *testing.T, all objects) {
		for _, name := range []string{"portcullis-releaser", "portcullis-quarantiner", "portcullis"} {
			for label := range get[*rbacv1.ClusterRole](t, all, name).Labels {
				if strings.HasPrefix(label, "rbac.authorization.k8s.io/aggregate-to-") {
					t.Errorf("%s has the label %s", name, label)
				}
			}
		}
	})
	aggregated := func(values string) string {
		return get[*rbacv1.ClusterRole](t, render(t, values), "portcullis-viewer").Labels["rbac.authorization.k8s.io/aggregate-to-view"]
	}
	if aggregated("") != "true" || aggregated("rbac: {aggregateToView: false}") != "" {
		t.Error("rbac.aggregateToView does not decide whether viewers see quarantines")
	}
}
