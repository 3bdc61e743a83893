package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// The defaults of HTTPOptions.
const (
	DefaultHTTPTimeout = 10 * time.Second
	DefaultTries       = 5
	DefaultMinBackoff  = 500 * time.Millisecond
)

const (
	maxBackoff = 30 * time.Second
	// maxReply is how much of a reply is read, so that the connection can be used again.
	maxReply     = 64 << 10
	maxTokenFile = 64 << 10
	maxCAFile    = 1 << 20
	maxRedirects = 3
)

// HTTPOptions are what an HTTP sink needs.
type HTTPOptions struct {
	// URL takes each document as the body of a POST. It must be https unless
	// AllowPlain is set.
	URL        string
	AllowPlain bool
	// TokenFile holds a bearer token; it is read anew for each document, so that
	// the token can rotate. Empty for none.
	TokenFile string
	// CAFile holds the certificates to trust, in place of the system's; it is read
	// anew when it changes. Empty for the system's.
	CAFile string
	// Timeout bounds one try; DefaultHTTPTimeout if zero.
	Timeout time.Duration
	// Tries bounds how often a document is sent; DefaultTries if zero.
	Tries int
	// MinBackoff is about the first pause between tries, each further one is
	// twice as long; DefaultMinBackoff if zero.
	MinBackoff time.Duration
}

// HTTP is a Sink that posts documents to an endpoint. It follows a redirect only
// to the same host, and only one that keeps the method and the body.
type HTTP struct {
	opts HTTPOptions
	url  *url.URL

	client *http.Client
	// caStamp tells whether the CA file has changed since client was made.
	caStamp string
}

// NewHTTP makes an HTTP sink. It reads the files once, to tell of mistakes early.
func NewHTTP(opts HTTPOptions) (*HTTP, error) {
	if opts.Timeout == 0 {
		opts.Timeout = DefaultHTTPTimeout
	}
	if opts.Tries == 0 {
		opts.Tries = DefaultTries
	}
	if opts.MinBackoff == 0 {
		opts.MinBackoff = DefaultMinBackoff
	}
	u, err := url.Parse(opts.URL)
	switch {
	case err != nil:
		return nil, errors.New("notify http options: URL cannot be parsed") // the error repeats the URL, secrets and all
	case u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("notify http options: URL is not an absolute https URL")
	case u.Scheme == "http" && !opts.AllowPlain:
		return nil, errors.New("notify http options: URL is plain http, which shows detections to the network; AllowPlain permits it")
	case u.User != nil:
		return nil, errors.New("notify http options: URL has a user or password in it, use TokenFile")
	case opts.Timeout < 0 || opts.Tries < 0 || opts.MinBackoff < 0:
		return nil, errors.New("notify http options: Timeout, Tries and MinBackoff must not be negative")
	}
	h := &HTTP{opts: opts, url: u}
	if _, err := h.token(); err != nil {
		return nil, fmt.Errorf("notify http options: TokenFile: %w", err)
	}
	if err := h.refresh(); err != nil {
		return nil, fmt.Errorf("notify http options: CAFile: %w", err)
	}
	return h, nil
}

// Close closes connections that are idle.
func (h *HTTP) Close() { h.client.CloseIdleConnections() }

// errRefused says that somebody has to do something before the endpoint takes anything: mend the token
// or the URL, for instance.
var errRefused = errors.New("the endpoint is not ready for documents")

// Send posts the document. It tries again after failures that may pass: no
// connection, 408, 425, 429 and 5xx. An answer that is about the document itself (400, 413, 415, 422)
// wraps ErrRejected.
func (h *HTTP) Send(ctx context.Context, doc Document) error {
	for try := 1; ; try++ {
		wait, err := h.post(ctx, doc.Body)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, ErrRejected), errors.Is(err, errRefused):
			return fmt.Errorf("post detection: %w", err)
		case try >= h.opts.Tries:
			return fmt.Errorf("post detection, %d tries: %w", try, err)
		}
		if err := pause(ctx, max(wait, h.backoff(try))); err != nil {
			return fmt.Errorf("post detection, %d tries: %w", try, err)
		}
	}
}

// backoff is a random time around the doubling one: replicas that lost an
// endpoint together do not come back together.
func (h *HTTP) backoff(try int) time.Duration {
	base := min(h.opts.MinBackoff<<min(try-1, 16), maxBackoff)
	return base/2 + rand.N(base+1) //nolint:gosec // only spreads the load
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// post sends the document once. After an error that may pass, wait is how long the endpoint asks
// to be left alone.
func (h *HTTP) post(ctx context.Context, doc []byte) (wait time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, h.opts.Timeout)
	defer cancel()
	if err = h.refresh(); err != nil {
		return 0, fmt.Errorf("read the CA file: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url.String(), bytes.NewReader(doc))
	if err != nil {
		return 0, err
	}
	token, err := h.token()
	if err != nil {
		return 0, fmt.Errorf("read the token file: %w", err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "portcullis")
	resp, err := h.client.Do(req)
	if err != nil {
		return 0, withoutURL(err)
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, maxReply)
	return verdict(resp)
}

// withoutURL drops the URL that net/http puts into its errors: a token may be part
// of its path.
func withoutURL(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

func verdict(resp *http.Response) (wait time.Duration, err error) {
	err = fmt.Errorf("the endpoint answers %d", resp.StatusCode)
	switch code := resp.StatusCode; {
	case code >= 200 && code < 300:
		return 0, nil
	case code == http.StatusRequestTimeout, code == http.StatusTooEarly, code == http.StatusTooManyRequests, code >= 500:
		return retryAfter(resp.Header.Get("Retry-After")), err
	case code == http.StatusBadRequest, code == http.StatusRequestEntityTooLarge,
		code == http.StatusUnsupportedMediaType, code == http.StatusUnprocessableEntity:
		return 0, fmt.Errorf("%w: %w", ErrRejected, err)
	default:
		return 0, fmt.Errorf("%w: %w", errRefused, err)
	}
}

// retryAfter reads the header's form in seconds, bounded.
func retryAfter(s string) time.Duration {
	seconds, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, maxBackoff)
}

func (h *HTTP) token() (string, error) {
	if h.opts.TokenFile == "" {
		return "", nil
	}
	data, err := readBounded(h.opts.TokenFile, maxTokenFile)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(data))
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", errors.New("it holds no token")
	}
	return token, nil
}

// refresh makes the client anew when the CA file has changed. A file that cannot be
// used leaves the client that there is.
func (h *HTTP) refresh() error {
	if h.opts.CAFile == "" {
		if h.client == nil {
			h.client = h.newClient(nil)
		}
		return nil
	}
	info, err := os.Stat(h.opts.CAFile)
	if err != nil {
		return h.keepClient(err)
	}
	stamp := fmt.Sprint(info.ModTime().UnixNano(), " ", info.Size())
	if stamp == h.caStamp {
		return nil
	}
	data, err := readBounded(h.opts.CAFile, maxCAFile)
	if err != nil {
		return h.keepClient(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return h.keepClient(errors.New("it holds no certificate"))
	}
	if h.client != nil {
		h.client.CloseIdleConnections()
	}
	h.client, h.caStamp = h.newClient(pool), stamp
	return nil
}

func (h *HTTP) keepClient(err error) error {
	if h.client != nil {
		return nil
	}
	return err
}

func (h *HTTP) newClient(roots *x509.CertPool) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout: h.opts.Timeout,
			IdleConnTimeout:     90 * time.Second,
			MaxIdleConns:        2,
			ForceAttemptHTTP2:   true,
		},
		CheckRedirect: h.checkRedirect,
	}
}

// checkRedirect keeps documents and the token where the operator sent them.
func (h *HTTP) checkRedirect(req *http.Request, via []*http.Request) error {
	if req.URL.Scheme != h.url.Scheme || req.URL.Host != h.url.Host || req.Method != http.MethodPost || len(via) > maxRedirects {
		return http.ErrUseLastResponse
	}
	return nil
}

func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("it has more than %d bytes", limit)
	}
	return data, nil
}
