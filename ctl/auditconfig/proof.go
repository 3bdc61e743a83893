package auditconfig

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/portcullis-dev/portcullis/pki"
)

// auth is by what the sink knows the API server.
type auth string

const (
	// byCertificate is the better one: its key never leaves the API server's host.
	byCertificate auth = "certificate"
	byToken       auth = "token"
)

// String returns the flag's value.
func (a *auth) String() string { return string(*a) }

// Type names the flag's value in the help.
func (a *auth) Type() string { return "auth" }

// Set reads the flag's value.
func (a *auth) Set(text string) error {
	switch auth(text) {
	case byCertificate, byToken:
		*a = auth(text)
		return nil
	default:
		return errors.New("must be certificate or token")
	}
}

// proof is a certificate with its key, or a token.
type proof struct {
	certificate *pki.Pair
	token       *pki.Token
}

func prove(ctx context.Context, store *pki.Store, s settings) (p proof, err error) {
	if s.auth == byToken {
		if p.token, err = store.IssueSinkToken(ctx, s.apiServer, s.validFor); err != nil {
			return proof{}, fmt.Errorf("make the API server's token: %w", hint(err, s.namespace))
		}
		return p, nil
	}
	if p.certificate, err = store.IssueSinkClient(ctx, s.apiServer, s.validFor); err != nil {
		return proof{}, fmt.Errorf("sign the API server's certificate: %w", hint(err, s.namespace))
	}
	return p, nil
}

// files are the names of what it is written to.
func (a auth) files() []string {
	if a == byToken {
		return []string{tokenFile}
	}
	return []string{certificateFile, keyFile}
}

func (p proof) write(d directory) error {
	if p.token != nil {
		return p.token.WriteFile(d.path(tokenFile))
	}
	return p.certificate.WriteFiles(d.path(certificateFile), d.path(keyFile))
}

func (p proof) expires() time.Time {
	if p.token != nil {
		return p.token.Expires()
	}
	return p.certificate.Certificate().NotAfter
}

func (p proof) authInfo(installPath string) *clientcmdapi.AuthInfo {
	if p.token != nil {
		return &clientcmdapi.AuthInfo{TokenFile: filepath.Join(installPath, tokenFile)}
	}
	return &clientcmdapi.AuthInfo{
		ClientCertificate: filepath.Join(installPath, certificateFile),
		ClientKey:         filepath.Join(installPath, keyFile),
	}
}
