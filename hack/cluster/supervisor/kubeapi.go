package supervisor

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	clientcmd "k8s.io/client-go/tools/clientcmd/api/v1"
	"sigs.k8s.io/yaml"
)

const (
	apiTimeout = 10 * time.Second
	// maxAnswer bounds what is read of an answer.
	maxAnswer = 4 << 20
)

var (
	errNotFound = errors.New("not found")
	errExists   = errors.New("exists already")
)

// kubeAPI is the little of a Kubernetes client that bringing a cluster up needs.
type kubeAPI struct {
	server string
	client *http.Client
}

// newKubeAPI reads a kubeconfig as package pki writes it.
func newKubeAPI(path string) (*kubeAPI, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	var config clientcmd.Config
	if err = yaml.UnmarshalStrict(text, &config); err != nil {
		return nil, fmt.Errorf("read kubeconfig %s: %w", path, err)
	}
	if len(config.Clusters) != 1 || len(config.AuthInfos) != 1 {
		return nil, fmt.Errorf("read kubeconfig %s: not one cluster and one user", path)
	}
	cluster, user := config.Clusters[0].Cluster, config.AuthInfos[0].AuthInfo
	cert, err := tls.X509KeyPair(user.ClientCertificateData, user.ClientKeyData)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig %s: %w", path, err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cluster.CertificateAuthorityData)
	transport := &http.Transport{TLSClientConfig: &tls.Config{
		MinVersion: tls.VersionTLS12, RootCAs: roots, Certificates: []tls.Certificate{cert},
	}}
	return &kubeAPI{server: cluster.Server, client: &http.Client{Timeout: apiTimeout, Transport: transport}}, nil
}

// get reads the object at an API path into out, which may be nil.
func (k *kubeAPI) get(ctx context.Context, path string, out any) error {
	return k.do(ctx, http.MethodGet, path, nil, out)
}

// create posts the object, and is content when it exists already.
func (k *kubeAPI) create(ctx context.Context, path string, object any) error {
	err := k.do(ctx, http.MethodPost, path, object, nil)
	if errors.Is(err, errExists) {
		return nil
	}
	return err
}

// remove deletes the object, and is content when there is none.
func (k *kubeAPI) remove(ctx context.Context, path string) error {
	err := k.do(ctx, http.MethodDelete, path, nil, nil)
	if errors.Is(err, errNotFound) {
		return nil
	}
	return err
}

func (k *kubeAPI) do(ctx context.Context, method, path string, in, out any) error {
	var body []byte
	if in != nil {
		encoded, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
		body = encoded
	}
	request, err := http.NewRequestWithContext(ctx, method, k.server+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := k.client.Do(request)
	if err != nil {
		return err // it names method and address itself
	}
	defer func() { _ = response.Body.Close() }() // read to its end below
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if err := statusError(response.StatusCode, answer); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}

func statusError(code int, answer []byte) error {
	switch {
	case code < http.StatusMultipleChoices:
		return nil
	case code == http.StatusNotFound:
		return errNotFound
	case code == http.StatusConflict:
		return errExists
	default:
		return fmt.Errorf("status %d: %s", code, bytes.TrimSpace(answer[:min(len(answer), lineRunes)]))
	}
}

// until asks again and again until the question is answered with true, and
// otherwise says what it waited for and how it failed last.
func until(ctx context.Context, what string, question func(context.Context) (bool, error)) error {
	for {
		ok, err := question(ctx)
		if ok && err == nil {
			return nil
		}
		if err == nil {
			err = errors.New("not yet")
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: gave up: %w", what, err)
		case <-time.After(pollInterval):
		}
	}
}

// exists asks for the presence of an object.
func (k *kubeAPI) exists(path string) func(context.Context) (bool, error) {
	return func(ctx context.Context) (bool, error) {
		err := k.get(ctx, path, nil)
		return err == nil, err
	}
}

// nodeReady asks for the node's Ready condition.
func (k *kubeAPI) nodeReady(name string) func(context.Context) (bool, error) {
	return func(ctx context.Context) (bool, error) {
		var node struct {
			Status struct {
				Conditions []struct{ Type, Status, Message string }
			}
		}
		if err := k.get(ctx, "/api/v1/nodes/"+name, &node); err != nil {
			return false, err
		}
		for _, condition := range node.Status.Conditions {
			if condition.Type == "Ready" {
				if condition.Status == "True" {
					return true, nil
				}
				return false, errors.New(condition.Message)
			}
		}
		return false, errors.New("the kubelet has not reported yet")
	}
}
