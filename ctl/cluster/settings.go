package cluster

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/portcullis-dev/portcullis/config"
)

// The ConfigMap that the chart gives the server its configuration in.
const (
	configName = "portcullis"
	configKey  = "config.yaml"
)

// ErrConfig says that the server's configuration is there and is not right.
var ErrConfig = errors.New("the server's configuration is not right")

// ServerConfig is what the server in a namespace is told; nil if it has its configuration from
// elsewhere than the chart's ConfigMap. A server of another version may know other settings: those are left out.
func ServerConfig(ctx context.Context, c client.Reader, namespace string) (*config.Config, error) {
	found := &corev1.ConfigMap{}
	err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: configName}, found)
	if err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	text, ok := found.Data[configKey]
	if !ok {
		return nil, nil
	}
	settings := config.Default()
	if err := yaml.Unmarshal([]byte(text), &settings); err != nil {
		return nil, fmt.Errorf("%w: %s of the ConfigMap %s/%s: %w", ErrConfig, configKey, namespace, configName, err)
	}
	return &settings, nil
}
