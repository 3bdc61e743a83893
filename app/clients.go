package app

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
	"github.com/portcullis-dev/portcullis/canary"
)

// clients are the ways to the API server.
type clients struct {
	rest       *rest.Config
	kubernetes kubernetes.Interface
	// objects reads from the API server, not from a cache.
	objects client.WithWatch
}

func newClients(cfg *rest.Config) (*clients, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("API types: %w", err)
		}
	}
	objects, err := client.NewWithWatch(cfg, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("API client: %w", err)
	}
	set, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("API client: %w", err)
	}
	return &clients{rest: cfg, kubernetes: set, objects: objects}, nil
}

// apiServers reaches each API server for itself, to get the canary's ConfigMap.
func (c *clients) apiServers(namespace, name string, clock func() time.Time) (*canary.Service, error) {
	return canary.NewService(canary.ServiceOptions{
		REST:   c.rest,
		Client: c.kubernetes,
		Path:   "/api/v1/namespaces/" + namespace + "/configmaps/" + name,
		Clock:  clock,
	})
}

// serverNames are the names and addresses that the serving certificate is for:
// the Service's DNS names, its addresses (API servers reach the sink by those),
// and what the configuration adds.
func (s *Server) serverNames(ctx context.Context) ([]string, error) {
	cfg := s.opts.Config
	service := &corev1.Service{}
	key := client.ObjectKey{Namespace: cfg.Namespace, Name: cfg.PKI.Service}
	if err := s.clients.objects.Get(ctx, key, service); err != nil {
		return nil, fmt.Errorf("read Service %s: %w", key, err)
	}
	short := cfg.PKI.Service + "." + cfg.Namespace
	names := []string{short + ".svc", short, cfg.PKI.Service, short + ".svc.cluster.local"}
	for _, ip := range service.Spec.ClusterIPs {
		if ip != corev1.ClusterIPNone && ip != "" {
			names = append(names, ip)
		}
	}
	return append(names, cfg.PKI.ExtraNames...), nil
}
