package harness

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/portcullis-dev/portcullis/hack/cluster/layout"
)

// maxAnswer bounds what is read of an answer.
const maxAnswer = 8 << 20

// HTTP makes plain requests, as no client of Kubernetes would: paths and headers go out as they are given.
type HTTP struct {
	client *http.Client
	host   string
}

// Answer is what came back.
type Answer struct {
	Code int
	Body string
}

// HTTP is the user's way to the API server without any client.
func (u User) HTTP() (*HTTP, error) {
	config, err := u.REST()
	if err != nil {
		return nil, err
	}
	return newHTTP(config)
}

// Kubelet is a way to the node's kubelet past the API server, with the API server's own certificate for it: what somebody
// has who has stolen that.
func (c *Cluster) Kubelet() (*rest.Config, error) {
	if c.existing {
		return nil, fmt.Errorf("nobody has the kubelet's client certificate of an existing cluster")
	}
	const name = "apiserver-kubelet-client"
	return &rest.Config{
		Host: "https://" + layout.NodeIP + ":10250",
		TLSClientConfig: rest.TLSClientConfig{
			CertFile: c.places.Cert(name), KeyFile: c.places.Key(name), CAFile: c.places.Cert("ca"),
		},
	}, nil
}

// NewHTTP makes plain requests with what a config says of the server and of who asks.
func NewHTTP(config *rest.Config) (*HTTP, error) { return newHTTP(rest.CopyConfig(config)) }

// newHTTP changes the config.
func newHTTP(config *rest.Config) (*HTTP, error) {
	config.NextProtos = []string{"http/1.1"} // HTTP/2 knows no upgrades
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	return &HTTP{client: client, host: strings.TrimSuffix(config.Host, "/")}, nil
}

// Do makes a request. Of a connection that was upgraded nothing is read: it is closed.
func (h *HTTP) Do(ctx context.Context, method, path, body string, header http.Header) (Answer, error) {
	request, err := http.NewRequestWithContext(ctx, method, h.host+path, strings.NewReader(body))
	if err != nil {
		return Answer{}, fmt.Errorf("%s %s: %w", method, path, err)
	}
	for name, values := range header {
		request.Header[name] = values
	}
	response, err := h.client.Do(request)
	if err != nil {
		return Answer{}, fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer response.Body.Close()
	answer := Answer{Code: response.StatusCode}
	if answer.Code == http.StatusSwitchingProtocols {
		return answer, nil
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return answer, fmt.Errorf("%s %s: read the answer: %w", method, path, err)
	}
	answer.Body = string(text)
	return answer, nil
}

// Bearer is somebody who has nothing but a token. The name is for messages, and for the kubeconfig's file.
func (c *Cluster) Bearer(name, token string) (User, error) {
	admin, err := clientcmd.LoadFromFile(c.Kubeconfig)
	if err != nil {
		return User{}, err
	}
	in := admin.Contexts[admin.CurrentContext]
	in.AuthInfo = name
	kubeconfig := filepath.Join(c.Work, name+".kubeconfig")
	admin.AuthInfos = map[string]*api.AuthInfo{name: {Token: token}}
	admin.Contexts = map[string]*api.Context{admin.CurrentContext: in}
	if err := clientcmd.WriteToFile(*admin, kubeconfig); err != nil {
		return User{}, err
	}
	return User{c: c, Name: name, kubeconfig: kubeconfig}, nil
}
