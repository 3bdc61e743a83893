package component

import (
	"fmt"
	"os"
	"time"

	"github.com/portcullis-dev/portcullis/hack/cluster/layout"
	"github.com/portcullis-dev/portcullis/hack/cluster/pki"
)

// Names of credentials that are not a daemon's own.
const (
	// CA is the certificate authority.
	CA = "ca"
	// ServiceAccountKey signs the tokens of service accounts.
	ServiceAccountKey = "service-account"
	// KubeletClient is the API server as the kubelet sees it.
	KubeletClient = "apiserver-kubelet-client"
	// KubeletServer is what the kubelet serves with.
	KubeletServer = "kubelet-server"
)

// WriteCredentials makes a new certificate authority and everything that the
// daemons and the administrator authenticate with.
func WriteCredentials(l layout.Layout, now func() time.Time) error {
	authority, err := pki.NewAuthority(now)
	if err != nil {
		return err
	}
	for _, write := range []func(layout.Layout, *pki.Authority) error{writeAuthority, writePairs, writeKubeconfigs} {
		if writeErr := write(l, authority); writeErr != nil {
			return writeErr
		}
	}
	private, public, err := pki.SigningKey()
	if err != nil {
		return err
	}
	return pki.Pair{Cert: public, Key: private}.Save(l.Cert(ServiceAccountKey), l.Key(ServiceAccountKey))
}

func writeAuthority(l layout.Layout, authority *pki.Authority) error {
	return authority.Save(l.Cert(CA), l.Key(CA))
}

func writePairs(l layout.Layout, authority *pki.Authority) error {
	requests := map[string]pki.Request{
		APIServer: {CommonName: APIServer, Hosts: []string{
			"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
			"127.0.0.1", layout.NodeIP, layout.KubernetesServiceIP,
		}},
		KubeletServer: {CommonName: layout.NodeName, Hosts: []string{layout.NodeName, "localhost", "127.0.0.1", layout.NodeIP}},
		KubeletClient: {CommonName: KubeletClient, Organizations: []string{"system:masters"}},
	}
	for name, request := range requests {
		pair, err := authority.Issue(request)
		if err != nil {
			return err
		}
		if err := pair.Save(l.Cert(name), l.Key(name)); err != nil {
			return err
		}
	}
	return nil
}

func writeKubeconfigs(l layout.Layout, authority *pki.Authority) error {
	requests := map[string]pki.Request{
		l.AdminKubeconfig():             {CommonName: "kubernetes-admin", Organizations: []string{"system:masters"}},
		l.Kubeconfig(ControllerManager): {CommonName: "system:kube-controller-manager"},
		l.Kubeconfig(Scheduler):         {CommonName: "system:kube-scheduler"},
		l.Kubeconfig(Proxy):             {CommonName: "system:kube-proxy"},
		l.Kubeconfig(Kubelet):           {CommonName: "system:node:" + layout.NodeName, Organizations: []string{"system:nodes"}},
	}
	for path, request := range requests {
		if err := authority.WriteKubeconfig(path, layout.APIServer, request); err != nil {
			return err
		}
	}
	return nil
}

// WriteUser issues the kubeconfig of a person of these groups and returns its path.
func WriteUser(l layout.Layout, name string, groups []string, now func() time.Time) (string, error) {
	authority, err := pki.LoadAuthority(l.Cert(CA), l.Key(CA), now)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(l.Users(), 0o700); err != nil {
		return "", fmt.Errorf("user %s: %w", name, err)
	}
	path := l.UserKubeconfig(name)
	request := pki.Request{CommonName: name, Organizations: groups}
	if err := authority.WriteKubeconfig(path, layout.APIServer, request); err != nil {
		return "", fmt.Errorf("user %s: %w", name, err)
	}
	return path, nil
}
