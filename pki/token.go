package pki

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// tokenBytes is the randomness of a token. Nobody guesses that, so that a plain
	// hash of it is as good as a slow one.
	tokenBytes = 32
	// maxTokens is how many tokens of one API server are good: a new one, and the one before,
	// which the API server uses until the new file has reached it.
	maxTokens = 2
	// maxTokenText bounds what is looked at as a token.
	maxTokenText = 128
)

// Token is a secret by which an API server proves to the audit sink who it is. It
// prints and logs as what it is for; the secret is only to be had from Text and WriteFile.
type Token struct {
	apiServer, text string
	expires         time.Time
}

// Text is the secret.
func (t *Token) Text() string { return t.text }

// Expires is when it ends.
func (t *Token) Expires() time.Time { return t.expires }

// WriteFile writes the secret to a file that only its owner can read, replaced in one step.
func (t *Token) WriteFile(name string) error {
	if err := replaceFile(name, []byte(t.text), 0o600); err != nil {
		return fmt.Errorf("write token: %w", err)
	}
	return nil
}

// Format writes what the token is for, whatever the verb.
func (t *Token) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, t.describe())
}

// LogValue is what Format writes.
func (t *Token) LogValue() slog.Value { return slog.StringValue(t.describe()) }

func (t *Token) describe() string { return fmt.Sprintf("sink token of API server %q", t.apiServer) }

// storedToken is what the Secret holds of a token.
type storedToken struct {
	// Hash is its SHA-256: whoever reads the Secret cannot use it.
	Hash    []byte    `json:"sha256"`
	Expires time.Time `json:"expires"`
}

// sinkTokens are the tokens that are good, by API server.
type sinkTokens map[string][]storedToken

// check reports until when a token proves that its bearer is that API server.
func (t sinkTokens) check(apiServer, token string, now time.Time) (expires time.Time, ok bool) {
	if len(token) > maxTokenText {
		return time.Time{}, false
	}
	hash := sha256.Sum256([]byte(token))
	for _, known := range t[apiServer] {
		if subtle.ConstantTimeCompare(hash[:], known.Hash) == 1 && now.Before(known.Expires) {
			expires, ok = known.Expires, true
		}
	}
	return expires, ok
}

// good reports whether there is a token that is good.
func (t sinkTokens) good(now time.Time) bool {
	for _, tokens := range t {
		for _, known := range tokens {
			if now.Before(known.Expires) {
				return true
			}
		}
	}
	return false
}

// IssueSinkToken makes a token by which one API server proves to the audit sink who it is. It is kept nowhere
// but with the caller: the Secret gets its hash. The API server's token before this one
// stays good until it expires, those before that do not.
func (s *Store) IssueSinkToken(ctx context.Context, apiServer string, lifetime time.Duration) (*Token, error) {
	if msgs := validation.IsDNS1123Subdomain(apiServer); len(msgs) > 0 {
		return nil, fmt.Errorf("API server name %.80q: %s", apiServer, msgs[0])
	}
	if s.opts.SinkTokensSecret == "" {
		return nil, errors.New("this store has no tokens: StoreOptions.SinkTokensSecret is empty")
	}
	secret := make([]byte, tokenBytes)
	_, _ = rand.Read(secret) // it never fails
	now := s.opts.Clock()
	token := &Token{apiServer: apiServer, text: base64.RawURLEncoding.EncodeToString(secret), expires: now.Add(lifetime)}
	hash := sha256.Sum256([]byte(token.text))
	err := s.edit(ctx, s.opts.SinkTokensSecret, func(secret *corev1.Secret) (bool, error) {
		tokens, err := parseTokens(secret.Data[apiServer])
		if err != nil {
			s.opts.Logger.Warn("tokens that cannot be read are replaced", "apiserver", apiServer, "error", err)
		}
		keep := []storedToken{{Hash: hash[:], Expires: token.expires}}
		for _, old := range tokens { // the newest is the first
			if len(keep) < maxTokens && now.Before(old.Expires) {
				keep = append(keep, old)
			}
		}
		secret.Data[apiServer], err = json.Marshal(keep)
		return true, err
	})
	if err != nil {
		return nil, err
	}
	return token, nil
}

// readSinkTokens returns the tokens that are good. Without the Secret there are none.
func (s *Store) readSinkTokens(ctx context.Context) (sinkTokens, error) {
	if s.opts.SinkTokensSecret == "" {
		return nil, nil
	}
	secret := &corev1.Secret{}
	err := s.opts.Client.Get(ctx, client.ObjectKey{Namespace: s.opts.Namespace, Name: s.opts.SinkTokensSecret}, secret)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read Secret %s/%s: %w", s.opts.Namespace, s.opts.SinkTokensSecret, err)
	}
	all := make(sinkTokens, len(secret.Data))
	for apiServer, text := range secret.Data {
		tokens, err := parseTokens(text)
		if err != nil {
			// One that cannot be read must not shut out the others.
			s.opts.Logger.Error("tokens of an API server cannot be read", "secret", secret.Name, "apiserver", apiServer, "error", err)
			continue
		}
		all[apiServer] = tokens
	}
	return all, nil
}

func parseTokens(text []byte) ([]storedToken, error) {
	if len(text) == 0 {
		return nil, nil
	}
	var tokens []storedToken
	if err := json.Unmarshal(text, &tokens); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	return tokens[:min(len(tokens), maxTokens)], nil
}
