// Package cluster is how commands reach the API server: kubectl's flags and
// kubeconfig, and a client that knows the few kinds that the commands use.
package cluster

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
)

// ErrNoCluster says that neither a flag nor a kubeconfig names a cluster.
var ErrNoCluster = errors.New("no cluster: there is no kubeconfig; set KUBECONFIG or give --kubeconfig")

// Flags are the flags of every command that say which cluster is meant.
type Flags struct {
	config    *genericclioptions.ConfigFlags
	userAgent string
	warnings  io.Writer
}

// NewFlags returns flags with kubectl's names and meanings. Warnings of the API
// server go to the writer.
func NewFlags(userAgent string, warnings io.Writer) *Flags {
	config := genericclioptions.NewConfigFlags(true)
	config.CacheDir = nil // nothing is discovered, so nothing is cached
	return &Flags{config: config, userAgent: userAgent, warnings: warnings}
}

// AddFlags adds the flags to a flag set.
func (f *Flags) AddFlags(flags *pflag.FlagSet) {
	f.config.AddFlags(flags)
	flags.Lookup("namespace").Usage = "The namespace: of the pod where a command is about a pod, of Portcullis where it is about the installation"
}

// Namespace is the one that the flag names, or the fallback.
func (f *Flags) Namespace(fallback string) string {
	if *f.config.Namespace != "" {
		return *f.config.Namespace
	}
	return fallback
}

// ContextNamespace is the one that the flag names, or the kubeconfig's current one.
func (f *Flags) ContextNamespace() (string, error) {
	namespace, _, err := f.config.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return "", fmt.Errorf("find the namespace: %w", err)
	}
	return namespace, nil
}

// Config is how to reach the API server, for what a client cannot do.
func (f *Flags) Config() (*rest.Config, error) {
	config, err := f.config.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	if strings.HasSuffix(config.Host, "localhost:8080") && *f.config.APIServer == "" {
		// What client-go falls back to where nothing says which cluster.
		return nil, ErrNoCluster
	}
	config = rest.CopyConfig(config)
	config.UserAgent = f.userAgent
	return config, nil
}

// Client returns a client that reads from the API server directly.
func (f *Flags) Client() (client.WithWatch, error) {
	config, err := f.Config()
	if err != nil {
		return nil, err
	}
	return NewClient(config, f.userAgent, f.warnings)
}

// NewClient returns a client for that server. It asks for no discovery: people
// who may read quarantines and nothing else can use it.
func NewClient(config *rest.Config, userAgent string, warnings io.Writer) (client.WithWatch, error) {
	log.SetLogger(logr.Discard()) // commands speak for themselves
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, appsv1.AddToScheme, authenticationv1.AddToScheme, discoveryv1.AddToScheme, admissionv1.AddToScheme, v1alpha1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("API types: %w", err)
		}
	}
	mapper := meta.NewDefaultRESTMapper(nil)
	for _, kind := range []string{"Secret", "ConfigMap", "Service", "ServiceAccount", "Pod"} {
		mapper.Add(corev1.SchemeGroupVersion.WithKind(kind), meta.RESTScopeNamespace)
	}
	for _, kind := range []string{"StatefulSet", "DaemonSet"} {
		mapper.Add(appsv1.SchemeGroupVersion.WithKind(kind), meta.RESTScopeNamespace)
	}
	mapper.Add(discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"), meta.RESTScopeNamespace)
	for _, kind := range []string{"Node", "Namespace"} {
		mapper.Add(corev1.SchemeGroupVersion.WithKind(kind), meta.RESTScopeRoot)
	}
	for _, kind := range []string{"ValidatingWebhookConfiguration", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"} {
		mapper.Add(admissionv1.SchemeGroupVersion.WithKind(kind), meta.RESTScopeRoot)
	}
	mapper.Add(v1alpha1.GroupVersion.WithKind("Quarantine"), meta.RESTScopeRoot)

	config = rest.CopyConfig(config)
	config.UserAgent = userAgent
	config.WarningHandler = rest.NewWarningWriter(warnings, rest.WarningWriterOptions{Deduplicate: true})
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme, Mapper: mapper})
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	return c, nil
}
