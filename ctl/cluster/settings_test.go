package cluster

import (
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
)

// TestServerConfig: what the chart says, as far as this version knows it.
func TestServerConfig(t *testing.T) {
	for name, tc := range map[string]struct {
		data      map[string]string
		there, ok bool
	}{
		"not the chart's":        {nil, false, true},
		"of a newer version":     {map[string]string{"config.yaml": "{novelty: 1, gate: {mirror: false, novelty: 2}}"}, true, true},
		"what is no YAML at all": {map[string]string{"config.yaml": "{"}, false, false},
	} {
		c := fake.NewClientBuilder().WithObjects(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "p", Name: "portcullis"}, Data: tc.data}).Build()
		found, err := ServerConfig(t.Context(), c, "p")
		if (found != nil) != tc.there || (err == nil) != tc.ok {
			t.Errorf("%s: %v, %v", name, found, err)
		}
		if err != nil && !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v is not ErrConfig", name, err)
		}
		if found != nil && (found.Gate.Mirror || found.PKI.ServingSecret != "portcullis-serving") {
			t.Errorf("%s: %+v", name, found)
		}
		if found, err := ServerConfig(t.Context(), c, "elsewhere"); found != nil || err != nil {
			t.Errorf("%s, elsewhere: %v, %v", name, found, err)
		}
	}
}
