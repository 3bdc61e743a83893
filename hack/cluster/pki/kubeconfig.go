package pki

import (
	"fmt"
	"os"

	clientcmd "k8s.io/client-go/tools/clientcmd/api/v1"
	"sigs.k8s.io/yaml"
)

// Kubeconfig returns a kubeconfig that reaches server as the pair's user. It
// holds the certificates themselves, so it can be copied anywhere.
func (a *Authority) Kubeconfig(server, user string, pair Pair) ([]byte, error) {
	const cluster = "portcullis-test"
	config := clientcmd.Config{
		Kind:       "Config",
		APIVersion: "v1",
		Clusters: []clientcmd.NamedCluster{{
			Name:    cluster,
			Cluster: clientcmd.Cluster{Server: server, CertificateAuthorityData: a.Cert()},
		}},
		AuthInfos: []clientcmd.NamedAuthInfo{{
			Name:     user,
			AuthInfo: clientcmd.AuthInfo{ClientCertificateData: pair.Cert, ClientKeyData: pair.Key},
		}},
		Contexts:       []clientcmd.NamedContext{{Name: cluster, Context: clientcmd.Context{Cluster: cluster, AuthInfo: user}}},
		CurrentContext: cluster,
	}
	text, err := yaml.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("encode kubeconfig: %w", err)
	}
	return text, nil
}

// WriteKubeconfig issues a client certificate for the request and writes its kubeconfig at path.
func (a *Authority) WriteKubeconfig(path, server string, r Request) error {
	pair, err := a.Issue(r)
	if err != nil {
		return err
	}
	text, err := a.Kubeconfig(server, r.CommonName, pair)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	return nil
}
