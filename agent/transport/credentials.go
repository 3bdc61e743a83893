package transport

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// maxCredential bounds a file of certificates or a token.
const maxCredential = 1 << 20

// dial makes a connection for one stream: with the CA and the token as they are now.
func (c *Client) dial() (*grpc.ClientConn, error) {
	pem, err := readBounded(c.opts.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read the CA file: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read the CA file: %s holds no certificate", c.opts.CAFile)
	}
	name := c.opts.ServerName
	if name == "" {
		if name, _, err = net.SplitHostPort(c.opts.Server); err != nil {
			return nil, fmt.Errorf("read the server's address: %w", err)
		}
	}
	conn, err := grpc.NewClient(c.opts.Server,
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
			RootCAs: roots, ServerName: name, MinVersion: tls.VersionTLS13,
		})),
		grpc.WithPerRPCCredentials(tokenFile(c.opts.TokenFile)),
		grpc.WithNoProxy(),                // the server is in the cluster
		grpc.WithDisableServiceConfig(),   // nobody else decides how it is reached
		grpc.WithMaxCallAttempts(1),       // the client has its own retries
		grpc.WithIdleTimeout(0),           // and one stream
		grpc.WithInitialWindowSize(1<<20), // of acknowledgements, which are small
	)
	if err != nil {
		return nil, fmt.Errorf("make the connection: %w", err)
	}
	return conn, nil
}

// tokenFile shows the token that the file holds as the stream is opened.
type tokenFile string

func (f tokenFile) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	token, err := readBounded(string(f))
	if err != nil {
		return nil, fmt.Errorf("read the token file: %w", err)
	}
	token = bytes.TrimSpace(token)
	if len(token) == 0 {
		return nil, errors.New("read the token file: it is empty")
	}
	if bytes.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("read the token file: it holds no token")
	}
	return map[string]string{"authorization": "Bearer " + string(token)}, nil
}

func (tokenFile) RequireTransportSecurity() bool { return true }

func readBounded(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxCredential {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxCredential)
	}
	return os.ReadFile(path)
}
