package charts

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
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
			"limitranges: create delete list update", // the mirrors of quarantines
			"secrets [portcullis-serving portcullis-sink-ca]: get update",
			"secrets [portcullis-sink-tokens]: get",
			"services [portcullis]: get",
		},
		"Role portcullis-sessions": {
			"configmaps [portcullis-trust]: get",
			"pods/portforward [portcullis-0]: create get",
			"pods: list",
			"serviceaccounts/token [portcullis-reader]: create",
		},
		"ClusterRole portcullis-metrics-reader":  {"/metrics: get"},
		"ClusterRole portcullis-quarantiner":     {"portcullis.dev/quarantines: create get list watch"},
		"ClusterRole portcullis-releaser":        {"portcullis.dev/quarantines: delete get list watch"},
		"ClusterRole portcullis-sessions-reader": {"/sessions, /sessions/*: get"},
		"ClusterRole portcullis-viewer":          {"portcullis.dev/quarantines: get list watch"},
	}
	for _, rules := range want {
		sort.Strings(rules)
	}
	eachScenario(t, func(t *testing.T, all objects) {
		if diff := gocmp.Diff(want, rights(all)); diff != "" {
			t.Errorf("rights (-want +got):\n%s", diff)
		}
	})
}

// TestRightsWithoutMirrors: what only mirrors need goes with them.
func TestRightsWithoutMirrors(t *testing.T) {
	for _, values := range []string{"gate: {policy: {mirror: false}}", "gate: {policy: {enabled: false}}"} {
		for _, rule := range rights(render(t, values))["Role portcullis"] {
			if strings.HasPrefix(rule, "limitranges:") {
				t.Errorf("%s: the server may %s", values, rule)
			}
		}
	}
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
				if strings.Contains(strings.ReplaceAll(rule, "/sessions/*", ""), "*") { // each session has an address
					t.Errorf("%s may %s", role, rule)
				}
			}
		}
	})
}

// TestBindings: only the server is bound to its own roles, and the account that people are for the server to its
// sessions. Everything else is for people to bind.
func TestBindings(t *testing.T) {
	account := func(name string) []rbacv1.Subject {
		return []rbacv1.Subject{{Kind: "ServiceAccount", Name: name, Namespace: namespace}}
	}
	type binding struct {
		Role     rbacv1.RoleRef
		Subjects []rbacv1.Subject
	}
	role := func(kind, name string) rbacv1.RoleRef {
		return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: name}
	}
	want := []binding{
		{role("ClusterRole", "portcullis"), account("portcullis")},
		{role("ClusterRole", "portcullis-sessions-reader"), account("portcullis-reader")},
		{role("Role", "portcullis"), account("portcullis")},
	}
	eachScenario(t, func(t *testing.T, all objects) {
		var got []binding
		for _, obj := range all {
			switch b := obj.(type) {
			case *rbacv1.ClusterRoleBinding:
				got = append(got, binding{b.RoleRef, b.Subjects})
			case *rbacv1.RoleBinding:
				got = append(got, binding{b.RoleRef, b.Subjects})
			}
		}
		slices.SortFunc(got, func(a, b binding) int {
			return cmp.Or(strings.Compare(a.Role.Kind, b.Role.Kind), strings.Compare(a.Role.Name, b.Role.Name))
		})
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("bindings (-want +got):\n%s", diff)
		}
	})
}

// TestNobodyRunsAsTheReader: its tokens are made for people, one by one.
func TestNobodyRunsAsTheReader(t *testing.T) {
	eachScenario(t, func(t *testing.T, all objects) {
		if mounts := get[*corev1.ServiceAccount](t, all, "portcullis-reader").AutomountServiceAccountToken; mounts == nil || *mounts {
			t.Error("a pod that runs as it would have its token")
		}
		if name := server(t, all).ServiceAccountName; name == "portcullis-reader" {
			t.Error("the server runs as it")
		}
		for label := range get[*rbacv1.Role](t, all, "portcullis-sessions").Labels {
			if strings.HasPrefix(label, "rbac.authorization.k8s.io/aggregate-to-") {
				t.Errorf("sessions are shown to whom %s shows other things", label)
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
