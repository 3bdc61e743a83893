package audit

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"text/template"

	"k8s.io/apimachinery/pkg/util/validation"
)

//go:embed policy.yaml
var policyText string

// Options are what the policy depends on. All fields are required.
type Options struct {
	// Namespace is the one that Portcullis is installed in.
	Namespace string
	// ServiceAccount is the server's service account in Namespace.
	ServiceAccount string
	// CanaryConfigMap is the ConfigMap in Namespace that the server gets at
	// intervals to see whether its audit event comes back.
	CanaryConfigMap string
}

// Default returns the options of an installation with the chart's names.
func Default() Options {
	return Options{
		Namespace:       "portcullis",
		ServiceAccount:  "portcullis",
		CanaryConfigMap: "portcullis-canary",
	}
}

// Policy renders the audit.k8s.io/v1 Policy as YAML with comments. It fails
// when an option is not a name that Kubernetes could have given: nothing else
// may reach a file that decides what an API server records.
func Policy(o Options) ([]byte, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	t, err := template.New("policy.yaml").Option("missingkey=error").Parse(policyText)
	if err != nil {
		return nil, fmt.Errorf("parse audit policy template: %w", err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, o); err != nil {
		return nil, fmt.Errorf("render audit policy: %w", err)
	}
	return out.Bytes(), nil
}

func (o Options) validate() error {
	return errors.Join(
		check("Namespace", o.Namespace, validation.IsDNS1123Label),
		check("ServiceAccount", o.ServiceAccount, validation.IsDNS1123Subdomain),
		check("CanaryConfigMap", o.CanaryConfigMap, validation.IsDNS1123Subdomain),
	)
}

func check(field, value string, rule func(string) []string) error {
	if problems := rule(value); len(problems) > 0 {
		return fmt.Errorf("audit policy: %s %q: %s", field, value, strings.Join(problems, "; "))
	}
	return nil
}
