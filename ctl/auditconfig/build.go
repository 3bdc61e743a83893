package auditconfig

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/portcullis-dev/portcullis/config"
	"github.com/portcullis-dev/portcullis/config/audit"
	"github.com/portcullis-dev/portcullis/ctl/cluster"
	"github.com/portcullis-dev/portcullis/pki"
)

// sinkPath is the URL path under which the sink takes an API server's events;
// the name follows.
const sinkPath = "/audit/"

// sinkPort is the name of the sink's port in the Service.
const sinkPort = "audit"

// bundle is what one API server needs.
type bundle struct {
	policy     []byte
	kubeconfig []byte
	trust      pki.Bundle
	// proof is by what the sink knows the API server.
	proof proof
	// url is where the API server will send its events.
	url string
}

// build reads what Portcullis published, and signs a certificate.
func build(ctx context.Context, c client.WithWatch, s settings, clock func() time.Time) (bundle, error) {
	names := config.Default()
	address, err := sinkAddress(ctx, c, s, names.PKI.Service)
	if err != nil {
		return bundle{}, err
	}
	store, err := pki.NewStore(pki.StoreOptions{
		Client:           c,
		Namespace:        s.namespace,
		ServingSecret:    names.PKI.ServingSecret,
		SinkCASecret:     names.PKI.SinkCASecret,
		SinkTokensSecret: names.PKI.SinkTokensSecret,
		Clock:            clock,
		Logger:           slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return bundle{}, err
	}
	b := bundle{url: "https://" + address + sinkPath + s.apiServer}
	if b.trust, err = trust(ctx, c, store, s); err != nil {
		return bundle{}, err
	}
	if b.proof, err = prove(ctx, store, s); err != nil {
		return bundle{}, err
	}
	policy := audit.Default()
	policy.Namespace = s.namespace
	if b.policy, err = audit.Policy(policy); err != nil {
		return bundle{}, err
	}
	b.kubeconfig, err = kubeconfig(s, b, names.PKI.Service)
	return b, err
}

// trust is what the API server trusts the sink by: the CA of Portcullis, unless somebody else issues the sink's certificate.
func trust(ctx context.Context, c client.Reader, store *pki.Store, s settings) (pki.Bundle, error) {
	if s.sinkCA != "" {
		text, err := os.ReadFile(s.sinkCA)
		if err != nil {
			return nil, fmt.Errorf("--sink-ca: %w", err)
		}
		own, err := pki.ParseBundle(text)
		if err != nil {
			return nil, fmt.Errorf("--sink-ca %s: %w", s.sinkCA, err)
		}
		return own, nil
	}
	// Whoever may not read the configuration gets what is right for nearly everybody.
	settings, err := cluster.ServerConfig(ctx, c, s.namespace)
	if err == nil && settings != nil && settings.PKI.SinkFiles.Certificate != "" {
		return nil, errors.New("the audit sink shows a certificate of your own (pki.sinkTLSSecret), and the API server has to trust its CA: " +
			"say with --sink-ca which file has that. It may be in the Secret:\n" +
			"kubectl -n " + s.namespace + ` get secret NAME -o go-template='{{index .data "ca.crt" | base64decode}}' > sink-ca.crt`)
	}
	ours, err := store.SinkTrust(ctx)
	if err != nil {
		return nil, fmt.Errorf("read what API servers trust the sink by: %w", hint(err, s.namespace))
	}
	return ours, nil
}

// sinkAddress is host:port of the sink as the API server reaches it.
func sinkAddress(ctx context.Context, c client.Client, s settings, name string) (string, error) {
	if s.address != "" {
		return s.address, nil
	}
	service := &corev1.Service{}
	err := c.Get(ctx, client.ObjectKey{Namespace: s.namespace, Name: name}, service)
	if apierrors.IsNotFound(err) {
		return "", fmt.Errorf("there is no Service %s in namespace %s: is Portcullis installed there? --namespace says where", name, s.namespace)
	}
	if err != nil {
		return "", fmt.Errorf("find the audit sink's address: %w", err)
	}
	if net.ParseIP(service.Spec.ClusterIP) == nil {
		return "", fmt.Errorf("service %s/%s has no cluster IP: say with --address how the API server reaches the audit sink", s.namespace, name)
	}
	for _, port := range service.Spec.Ports {
		if port.Name == sinkPort {
			return net.JoinHostPort(service.Spec.ClusterIP, strconv.Itoa(int(port.Port))), nil
		}
	}
	return "", fmt.Errorf("service %s/%s has no port %q: is it Portcullis'?", s.namespace, name, sinkPort)
}

// kubeconfig is how an API server finds the sink. Certificates and tokens are named
// by their paths: what is embedded is never read again.
func kubeconfig(s settings, b bundle, service string) ([]byte, error) {
	const name = "portcullis"
	file := clientcmdapi.NewConfig()
	file.Clusters[name] = &clientcmdapi.Cluster{
		Server: b.url,
		// The address can be any; the name is always in the sink's certificate.
		TLSServerName:        service + "." + s.namespace + ".svc",
		CertificateAuthority: filepath.Join(s.installPath, caFile),
	}
	file.AuthInfos[name] = b.proof.authInfo(s.installPath)
	file.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	file.CurrentContext = name
	text, err := clientcmd.Write(*file)
	if err != nil {
		return nil, fmt.Errorf("write the kubeconfig: %w", err)
	}
	return text, nil
}

// hint adds to an error what the person can do about it.
func hint(err error, namespace string) error {
	switch {
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%w\nthis command needs the right to get (for a token also to update) the Secrets of Portcullis in namespace %s: run it as a cluster administrator", err, namespace)
	case apierrors.IsNotFound(err):
		return fmt.Errorf("%w\nis Portcullis installed in namespace %s? --namespace says where", err, namespace)
	case errors.Is(err, context.DeadlineExceeded):
		return err
	default:
		return fmt.Errorf("%w\nsee whether the server runs: kubectl -n %s get pods", err, namespace)
	}
}
