package pki

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const tokensSecret = "portcullis-sink-tokens"

// withTokens is an installation that has the Secret for tokens.
func withTokens(t *testing.T) (client.Client, *Store, *Manager, *clock) {
	t.Helper()
	c, now := installed(t), &clock{now: time.Now()}
	if err := c.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace, Name: tokensSecret}}); err != nil {
		t.Fatal(err)
	}
	m := newTestManager(t, c, now.Now)
	m.store.opts.SinkTokensSecret = tokensSecret
	ensure(t, m)
	return c, m.store, m, now
}

func issueToken(t *testing.T, s *Store, apiServer string, lifetime time.Duration) *Token {
	t.Helper()
	token, err := s.IssueSinkToken(t.Context(), apiServer, lifetime)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestSinkToken(t *testing.T) {
	c, s, m, now := withTokens(t)
	token := issueToken(t, s, "cp-1", time.Hour)
	other := issueToken(t, s, "cp-2.example.org", time.Minute)
	if _, ok := m.CheckSinkToken("cp-1", token.Text()); ok {
		t.Error("good before the server has read of it")
	}
	ensure(t, m)
	check := func(apiServer, text string, want bool) {
		t.Helper()
		if _, ok := m.CheckSinkToken(apiServer, text); ok != want {
			t.Errorf("%s with a token of %d characters: %v, want %v", apiServer, len(text), ok, want)
		}
	}
	check("cp-1", token.Text(), true)
	check("cp-2.example.org", other.Text(), true)
	check("cp-2.example.org", token.Text(), false)
	check("cp-3", token.Text(), false)
	check("cp-1", token.Text()[1:], false)
	check("cp-1", "", false)
	check("cp-1", strings.Repeat("x", 1<<20), false)
	if expires, _ := m.CheckSinkToken("cp-1", token.Text()); !expires.Equal(token.Expires()) {
		t.Errorf("expires %s, want %s", expires, token.Expires())
	}
	for name, text := range secretData(t, c, tokensSecret).Data {
		if strings.Contains(string(text), token.Text()) || strings.Contains(string(text), other.Text()) {
			t.Errorf("the Secret has the token of %s itself", name)
		}
	}
	now.advance(2 * time.Minute)
	check("cp-1", token.Text(), true)
	check("cp-2.example.org", other.Text(), false)
}

// TestRenewedToken: the one before is good until its file is replaced everywhere, and no others.
func TestRenewedToken(t *testing.T) {
	_, s, m, now := withTokens(t)
	all := make([]*Token, 4)
	for i := range all {
		all[i] = issueToken(t, s, "cp-1", time.Hour)
	}
	ensure(t, m)
	for i, want := range []bool{false, false, true, true} {
		if _, ok := m.CheckSinkToken("cp-1", all[i].Text()); ok != want {
			t.Errorf("token %d: %v, want %v", i, ok, want)
		}
	}
	now.advance(2 * time.Hour)
	last := issueToken(t, s, "cp-1", time.Hour)
	ensure(t, m)
	if got := len(m.current.Load().tokens["cp-1"]); got != 1 {
		t.Errorf("%d tokens are kept, want the new one alone", got)
	}
	if _, ok := m.CheckSinkToken("cp-1", last.Text()); !ok {
		t.Error("the new one is not good")
	}
}

func TestTokenThatIsTakenBack(t *testing.T) {
	c, s, m, _ := withTokens(t)
	token := issueToken(t, s, "cp-1", time.Hour)
	ensure(t, m)
	secret := secretData(t, c, tokensSecret)
	secret.Data = map[string][]byte{"cp-1": []byte("{"), "cp-2": []byte("[]")}
	if err := c.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	ensure(t, m)
	if _, ok := m.CheckSinkToken("cp-1", token.Text()); ok {
		t.Error("still good")
	}
	issueToken(t, s, "cp-1", time.Hour) // over what could not be read
	if err := c.Delete(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	ensure(t, m)
	if got := len(m.current.Load().tokens); got != 0 {
		t.Errorf("%d without the Secret", got)
	}
}

// failing cannot read one Secret.
type failing struct {
	Client
	name string
}

func (f failing) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	if key.Name == f.name {
		return errors.New("the API server is away")
	}
	return f.Client.Get(ctx, key, obj, opts...)
}

func TestTokensThatCannotBeReadStayGood(t *testing.T) {
	_, s, m, _ := withTokens(t)
	token := issueToken(t, s, "cp-1", time.Hour)
	ensure(t, m)
	s.opts.Client = failing{s.opts.Client, tokensSecret}
	if err := m.Ensure(t.Context()); err == nil || !strings.Contains(err.Error(), tokensSecret) {
		t.Errorf("ensure: %v", err)
	}
	if _, ok := m.CheckSinkToken("cp-1", token.Text()); !ok {
		t.Error("the token is forgotten")
	}
}

// TestHandshakeWithoutCertificate: only while there is a token that is good.
func TestHandshakeWithoutCertificate(t *testing.T) {
	_, s, m, now := withTokens(t)
	dial := &tls.Config{RootCAs: m.SinkTrust().Pool(), ServerName: "127.0.0.1"}
	if handshake(t, m.SinkTLS(), dial) == nil {
		t.Error("let in without any token there")
	}
	issueToken(t, s, "cp-1", time.Hour)
	ensure(t, m)
	if err := handshake(t, m.SinkTLS(), dial); err != nil {
		t.Errorf("kept out: %v", err)
	}
	foreign, err := NewCA(sinkCAName, now.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := foreign.IssueClient("apiserver:cp-1", now.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	shown, err := stranger.TLS()
	if err != nil {
		t.Fatal(err)
	}
	with := dial.Clone()
	with.Certificates = []tls.Certificate{shown}
	if handshake(t, m.SinkTLS(), with) == nil {
		t.Error("a stranger's certificate was taken")
	}
	now.advance(2 * time.Hour)
	if handshake(t, m.SinkTLS(), dial) == nil {
		t.Error("let in after the last token's end")
	}
}

func TestTokensDoNotPrint(t *testing.T) {
	_, s, _, _ := withTokens(t)
	token := issueToken(t, s, "cp-1", time.Hour)
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("issued", "token", token)
	for _, text := range []string{log.String(), fmt.Sprint(token), fmt.Sprintf("%v %+v %#v %s %q %x", token, token, token, token, token, token)} {
		if strings.Contains(text, token.Text()) || !strings.Contains(text, "cp-1") {
			t.Errorf("prints as %s", text)
		}
	}
	name := filepath.Join(t.TempDir(), "token")
	if err := token.WriteFile(name); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(name)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode is %v (%v)", info, err)
	}
}

func TestIssueSinkTokenRefuses(t *testing.T) {
	_, s, _, _ := withTokens(t)
	if _, err := s.IssueSinkToken(t.Context(), "../x", time.Hour); err == nil {
		t.Error("a name that is none was taken")
	}
	for secret, want := range map[string]string{"gone": "gone", "": "no tokens"} {
		s.opts.SinkTokensSecret = secret
		if _, err := s.IssueSinkToken(t.Context(), "cp-1", time.Hour); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("with the Secret %q: %v", secret, err)
		}
	}
}
