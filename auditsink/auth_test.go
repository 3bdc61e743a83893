package auditsink

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestCertificates(t *testing.T) {
	s := newSink(t, nil)
	now := time.Now()
	roots := s.serving.Bundle().Pool()
	for name, tc := range map[string]struct {
		client *http.Client
		path   string
		status int // 0: the handshake fails
		text   string
	}{
		"right":                    {s.cp1(), "/audit/cp-1", 200, ""},
		"another's path":           {s.cp1(), "/audit/cp-2", 403, `path "/audit/cp-2" needs a certificate of "apiserver:cp-2", this one is of "apiserver:cp-1"`},
		"no such prefix":           {s.apiServer(s.clients, "cp-1", now), "/audit/cp-1", 403, `this one is of "cp-1"`},
		"no name":                  {s.cp1(), "/audit/", 404, "is not /audit/<API server name>"},
		"another path":             {s.cp1(), "/metrics", 404, "is not /audit/"},
		"a name with a slash":      {s.cp1(), "/audit/cp-1/x", 404, "is not /audit/"},
		"a name in capitals":       {s.apiServer(s.clients, "apiserver:CP-1", now), "/audit/CP-1", 404, "is not /audit/"},
		"no certificate":           {s.client(roots), "/audit/cp-1", 0, ""},
		"expired":                  {s.apiServer(s.clients, "apiserver:cp-1", now.Add(-2*time.Hour)), "/audit/cp-1", 0, ""},
		"of a CA of the same name": {s.apiServer(newCA(t), "apiserver:cp-1", now), "/audit/cp-1", 0, ""},
		"of the serving CA":        {s.apiServer(s.serving, "apiserver:cp-1", now), "/audit/cp-1", 0, ""},
	} {
		got, err := s.do(tc.client, http.MethodPost, tc.path, asJSON(), bytes.NewReader(captured(t)["exec-tty"]))
		switch {
		case tc.status == 0 && err == nil: // why it failed, HTTP/2 keeps to itself
			t.Errorf("%s: answered %d %q", name, got.status, got.text)
		case tc.status == 0:
		case err != nil:
			t.Errorf("%s: %v", name, err)
		case got.status != tc.status || !strings.Contains(got.text, tc.text):
			t.Errorf("%s: %d %q, want %d with %q", name, got.status, got.text, tc.status, tc.text)
		}
	}
	if got := s.pipeline.count(); got != 2 {
		t.Errorf("the pipeline got %d events, want those of the one right request", got)
	}
}

func TestCertificateThatEndsWhileConnected(t *testing.T) {
	var mu sync.Mutex
	now := time.Now()
	s := newSink(t, func(o *Options) {
		o.Wall = func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return now
		}
	})
	c := s.cp1()
	s.post(c, captured(t)["empty"], http.StatusOK, "")
	mu.Lock()
	now = now.Add(2 * time.Hour)
	mu.Unlock()
	s.post(c, captured(t)["empty"], http.StatusForbidden, `the certificate of "apiserver:cp-1" expired at`)
}

func TestWithoutClientTLS(t *testing.T) {
	s := newSink(t, nil)
	s.handler.opts.Tokens = tokens{"cp-1": "secret"}
	for name, state := range map[string]*tls.ConnectionState{
		"plain HTTP":   nil,
		"not verified": {PeerCertificates: []*x509.Certificate{s.clients.Certificate()}},
	} {
		w := &recorder{header: http.Header{}}
		r, err := http.NewRequest(http.MethodPost, "/audit/cp-1", bytes.NewReader(captured(t)["exec-tty"]))
		if err != nil {
			t.Fatal(err)
		}
		r.Header, r.TLS = asJSON(), state
		r.Header.Set("Authorization", "Bearer secret")
		s.handler.ServeHTTP(w, r)
		if w.status != http.StatusForbidden {
			t.Errorf("%s: %d", name, w.status)
		}
	}
}

type recorder struct {
	header http.Header
	status int
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) Write(p []byte) (int, error) { return len(p), nil }
func (r *recorder) WriteHeader(status int)      { r.status = status }

// tokens are the good ones, by API server.
type tokens map[string]string

func (t tokens) CheckSinkToken(apiServer, token string) (time.Time, bool) {
	return time.Unix(5e9, 0), token != "" && t[apiServer] == token
}

func TestTokens(t *testing.T) {
	const secret = "hunter2-hunter2"
	s := newSink(t, func(o *Options) { o.Tokens = tokens{"cp-1": secret, "cp-2": "another"} })
	roots := s.serving.Bundle().Pool()
	none := s.client(roots)
	for name, tc := range map[string]struct {
		client        *http.Client
		path          string
		authorization []string
		status        int // 0: the handshake fails
		text          string
	}{
		"right":                            {none, "/audit/cp-1", []string{"Bearer " + secret}, 200, ""},
		"right, in small letters":          {none, "/audit/cp-1", []string{"bearer " + secret}, 200, ""},
		"none":                             {none, "/audit/cp-1", nil, 401, "or a token"},
		"another's":                        {none, "/audit/cp-2", []string{"Bearer " + secret}, 401, `none of the API server "cp-2"`},
		"of nobody":                        {none, "/audit/cp-3", []string{"Bearer " + secret}, 401, `none of the API server "cp-3"`},
		"empty":                            {none, "/audit/cp-3", []string{"Bearer "}, 401, "is none of"},
		"of another kind":                  {none, "/audit/cp-1", []string{"Basic " + secret}, 401, "bearer token is needed"},
		"two":                              {none, "/audit/cp-1", []string{"Bearer " + secret, "Bearer x"}, 401, "one Authorization header"},
		"a certificate still does":         {s.cp1(), "/audit/cp-1", nil, 200, ""},
		"a certificate of another decides": {s.cp1(), "/audit/cp-2", []string{"Bearer another"}, 403, "needs a certificate of"},
		"a certificate of a stranger":      {s.apiServer(newCA(t), "apiserver:cp-1", time.Now()), "/audit/cp-1", []string{"Bearer " + secret}, 0, ""},
	} {
		header := asJSON()
		header["Authorization"] = tc.authorization
		got, err := s.do(tc.client, http.MethodPost, tc.path, header, bytes.NewReader(captured(t)["empty"]))
		switch {
		case tc.status == 0 && err == nil:
			t.Errorf("%s: answered %d %q", name, got.status, got.text)
		case tc.status == 0:
		case err != nil:
			t.Errorf("%s: %v", name, err)
		case got.status != tc.status || !strings.Contains(got.text, tc.text) || strings.Contains(got.text, secret):
			t.Errorf("%s: %d %q, want %d with %q", name, got.status, got.text, tc.status, tc.text)
		case tc.status == 401 && got.header.Get("WWW-Authenticate") != "Bearer":
			t.Errorf("%s: does not say what is wanted", name)
		}
	}
	if strings.Contains(s.log.String(), secret) {
		t.Error("the token is in the log")
	}
	if got := testutil.ToFloat64(s.handler.metrics.clientToken.WithLabelValues("cp-1")); got != 5e9 {
		t.Errorf("the token's end is %v", got)
	}
}
