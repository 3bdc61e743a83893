package pki

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The data keys of the Secrets and of the trust ConfigMap.
const (
	KeyCACertificate = "ca.crt"
	KeyCAKey         = "ca.key"
	KeyCertificate   = corev1.TLSCertKey
	KeyPrivateKey    = corev1.TLSPrivateKeyKey
)

// Lifetimes where the options name none.
const (
	DefaultLeafLifetime = 90 * 24 * time.Hour
	DefaultCALifetime   = 10 * 365 * 24 * time.Hour
	// DefaultOverlap is far longer than the time within which replicas, API servers and agents see
	// what was written.
	DefaultOverlap = time.Hour
)

// The common names of the authorities.
const (
	servingCAName = "portcullis serving CA"
	sinkCAName    = "portcullis audit sink CA"
)

// maxConflicts bounds how often a write that collided is tried again. Each
// collision means that somebody else has succeeded, so a handful is plenty.
const maxConflicts = 8

// maxNames bounds the names of the server certificate; see wantedNames.
const maxNames = 100

// sinkClientPrefix is what the common name of an API server's certificate
// starts with; the sink strips it to learn who is calling.
const sinkClientPrefix = "apiserver:"

// Client is what this package needs of a Kubernetes client. It must read from
// the API server and not from a cache: a stale read right after a collision
// would collide again.
type Client interface {
	Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error
	Update(ctx context.Context, obj client.Object, opts ...client.UpdateOption) error
}

// StoreOptions are a Store's dependencies and settings.
type StoreOptions struct {
	// Client reads and writes the Secrets; see Client.
	Client Client
	// Namespace is where the Secrets are.
	Namespace string
	// ServingSecret holds the serving CA and the server certificate.
	ServingSecret string
	// SinkCASecret holds the CA of the API servers' client certificates.
	SinkCASecret string
	// SinkTokensSecret holds hashes of the tokens of API servers that have no
	// client certificate; empty where no tokens are used.
	SinkTokensSecret string
	// LeafLifetime and CALifetime are what certificates are issued for; zero
	// means the default.
	LeafLifetime, CALifetime time.Duration
	// Overlap is how long old and new are good together when an authority or an admission path is replaced, before and
	// after the change: all replicas and all who call them must learn of it in that time. Zero means the default.
	Overlap time.Duration
	Clock   func() time.Time
	Logger  *slog.Logger
}

// Store keeps authorities and the server certificate in Secrets. Its methods may
// be called concurrently, here and in other replicas.
type Store struct {
	opts StoreOptions
}

// NewStore returns a Store; it reads nothing yet.
func NewStore(opts StoreOptions) (*Store, error) {
	switch {
	case opts.Client == nil:
		return nil, errors.New("pki: StoreOptions.Client is nil")
	case opts.Namespace == "":
		return nil, errors.New("pki: StoreOptions.Namespace is empty")
	case opts.ServingSecret == "":
		return nil, errors.New("pki: StoreOptions.ServingSecret is empty")
	case opts.SinkCASecret == "":
		return nil, errors.New("pki: StoreOptions.SinkCASecret is empty")
	case opts.ServingSecret == opts.SinkCASecret:
		return nil, errors.New("pki: StoreOptions.ServingSecret and SinkCASecret are the same Secret")
	case opts.LeafLifetime < 0 || opts.CALifetime < 0 || opts.Overlap < 0:
		return nil, errors.New("pki: StoreOptions.LeafLifetime, CALifetime and Overlap must not be negative")
	case opts.Clock == nil:
		return nil, errors.New("pki: StoreOptions.Clock is nil")
	case opts.Logger == nil:
		return nil, errors.New("pki: StoreOptions.Logger is nil")
	}
	if opts.LeafLifetime == 0 {
		opts.LeafLifetime = DefaultLeafLifetime
	}
	if opts.CALifetime == 0 {
		opts.CALifetime = DefaultCALifetime
	}
	if opts.Overlap == 0 {
		opts.Overlap = DefaultOverlap
	}
	return &Store{opts: opts}, nil
}

// Serving is what the endpoints show, and what others need to trust them.
type Serving struct {
	Pair  *Pair
	Trust Bundle
}

// EnsureServing returns the server certificate. It makes the CA where there is
// none, begins to replace one that is past two thirds of its lifetime, and issues the certificate anew where it is
// missing, unreadable, past two thirds of its lifetime, not valid yet, not signed by the CA, or lacks one of
// the names.
func (s *Store) EnsureServing(ctx context.Context, names []string) (Serving, error) {
	return s.ensure(ctx, s.opts.ServingSecret, servingCAName, names, func(secret *corev1.Secret, ca *CA) (bool, error) {
		if !due(ca.Certificate(), s.opts.Clock()) {
			return false, nil
		}
		return s.beginCA(secret, servingCAName)
	})
}

// EnsureSink returns the audit sink's certificate, and what it trusts API servers by, as
// EnsureServing does. Its CA is never replaced by itself: people have its certificate on their machines.
func (s *Store) EnsureSink(ctx context.Context, names []string) (Serving, error) {
	return s.ensure(ctx, s.opts.SinkCASecret, sinkCAName, names, func(*corev1.Secret, *CA) (bool, error) { return false, nil })
}

// ensure returns the certificate of a Secret that has an authority of its own; renew may begin to replace that.
func (s *Store) ensure(ctx context.Context, name, commonName string, names []string, renew func(*corev1.Secret, *CA) (bool, error)) (Serving, error) {
	var out Serving
	err := s.edit(ctx, name, func(secret *corev1.Secret) (bool, error) {
		ca, made, err := s.ensureCA(secret, commonName)
		if err != nil {
			return false, err
		}
		begun, err := renew(secret, ca)
		if err != nil {
			return false, err
		}
		pair, issued, err := s.ensureLeaf(secret, ca, names)
		if err != nil {
			return false, err
		}
		trust, err := ParseBundle(secret.Data[KeyCACertificate])
		out = Serving{Pair: pair, Trust: trust}
		return made || begun || issued, err
	})
	return out, err
}

// EnsureSinkCA returns what the audit sink trusts client certificates by, and what
// API servers trust the sink by. It makes the CA where there is none.
func (s *Store) EnsureSinkCA(ctx context.Context) (Bundle, error) {
	ca, err := s.sinkCA(ctx)
	if err != nil {
		return nil, err
	}
	return ca.Bundle(), nil
}

// IssueSinkClient signs a certificate by which one API server proves to the
// audit sink who it is. It is kept nowhere but with the caller.
func (s *Store) IssueSinkClient(ctx context.Context, apiServer string, lifetime time.Duration) (*Pair, error) {
	if msgs := validation.IsDNS1123Subdomain(apiServer); len(msgs) > 0 {
		return nil, fmt.Errorf("API server name %.80q: %s", apiServer, msgs[0])
	}
	ca, err := s.sinkCA(ctx)
	if err != nil {
		return nil, err
	}
	return ca.IssueClient(sinkClientPrefix+apiServer, s.opts.Clock(), lifetime)
}

// ServingTrust returns what clients trust the endpoints by, but for the sink, and changes nothing.
func (s *Store) ServingTrust(ctx context.Context) (Bundle, error) {
	return s.trust(ctx, s.opts.ServingSecret)
}

// SinkTrust returns what API servers trust the sink by, and changes nothing.
func (s *Store) SinkTrust(ctx context.Context) (Bundle, error) {
	return s.trust(ctx, s.opts.SinkCASecret)
}

func (s *Store) trust(ctx context.Context, name string) (Bundle, error) {
	var trust Bundle
	err := s.edit(ctx, name, func(secret *corev1.Secret) (bool, error) {
		if len(secret.Data[KeyCACertificate]) == 0 {
			return false, errors.New("there is no CA yet: the server makes it when it first starts")
		}
		var err error
		trust, err = ParseBundle(secret.Data[KeyCACertificate])
		return false, err
	})
	return trust, err
}

func (s *Store) sinkCA(ctx context.Context) (*CA, error) {
	var ca *CA
	err := s.edit(ctx, s.opts.SinkCASecret, func(secret *corev1.Secret) (changed bool, err error) {
		ca, changed, err = s.ensureCA(secret, sinkCAName)
		return changed, err
	})
	return ca, err
}

// edit reads a Secret, lets change alter it, and writes it if it was altered.
func (s *Store) edit(ctx context.Context, name string, change func(*corev1.Secret) (bool, error)) error {
	key := client.ObjectKey{Namespace: s.opts.Namespace, Name: name}
	return edit(ctx, s.opts.Client, "Secret", key, func(secret *corev1.Secret) (bool, error) {
		if secret.Data == nil {
			secret.Data = make(map[string][]byte)
		}
		return change(secret)
	})
}

// edit reads an object, lets change alter it, and writes it if it was altered.
// Where another writer was faster it starts again with what that one wrote.
func edit[T any, P interface {
	*T
	client.Object
}](ctx context.Context, c Client, kind string, key client.ObjectKey, change func(P) (bool, error)) error {
	what := kind + " " + strings.TrimPrefix(key.String(), "/")
	for attempt := 1; ; attempt++ {
		obj := P(new(T)) // decoding into a used one would mix old and new map entries
		err := c.Get(ctx, key, obj)
		if apierrors.IsNotFound(err) {
			return fmt.Errorf("%s does not exist: it is installed, empty, with the release: %w", what, err)
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", what, err)
		}
		changed, err := change(obj)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if !changed {
			return nil
		}
		err = c.Update(ctx, obj)
		if err == nil {
			return nil
		}
		if !apierrors.IsConflict(err) || attempt == maxConflicts {
			return fmt.Errorf("write %s: %w", what, err)
		}
	}
}

func (s *Store) ensureCA(secret *corev1.Secret, commonName string) (*CA, bool, error) {
	bundle, key := secret.Data[KeyCACertificate], secret.Data[KeyCAKey]
	if len(bundle) > 0 || len(key) > 0 {
		ca, err := ParseCA(bundle, key)
		if err != nil {
			return nil, false, fmt.Errorf("%w; a CA is never replaced by itself: restore the Secret, "+
				"or empty its data to have a new one made (every client must trust that anew)", err)
		}
		return s.validCA(secret, ca)
	}
	ca, err := NewCA(commonName, s.opts.Clock(), s.opts.CALifetime)
	if err != nil {
		return nil, false, err
	}
	text, err := ca.KeyPEM()
	if err != nil {
		return nil, false, err
	}
	secret.Data[KeyCACertificate], secret.Data[KeyCAKey] = ca.Bundle().PEM(), text
	s.opts.Logger.Info("made a certificate authority", "secret", secret.Name, "commonName", commonName,
		"notAfter", ca.Certificate().NotAfter)
	return ca, true, nil
}

// validCA gives an authority a certificate that is valid now, if it has one that
// a clock ahead of ours has made: until then nobody would trust anything that it
// signs. An authority that somebody else has signed is not ours to sign.
func (s *Store) validCA(secret *corev1.Secret, ca *CA) (*CA, bool, error) {
	old, now := ca.Certificate(), s.opts.Clock()
	if !ahead(old, now) || !ca.selfSigned() || len(ca.Bundle()) >= maxBundle {
		return ca, false, nil
	}
	ca, err := ca.again(now, s.opts.CALifetime)
	if err != nil {
		return nil, false, err
	}
	secret.Data[KeyCACertificate] = ca.Bundle().PEM()
	s.opts.Logger.Warn("a certificate authority was not valid yet: it was made while a clock was ahead, or this one is behind; "+
		"it has another certificate now, with the same key", "secret", secret.Name, "commonName", old.Subject.CommonName,
		"notBefore", old.NotBefore, "now", now)
	return ca, true, nil
}

func (s *Store) ensureLeaf(secret *corev1.Secret, ca *CA, names []string) (*Pair, bool, error) {
	now := s.opts.Clock()
	current, reason := s.currentLeaf(secret, ca, names, now)
	if reason == "" {
		return current, false, nil
	}
	if err := s.issueLeaf(secret, ca, wantedNames(current, names, now), reason); err != nil {
		return nil, false, err
	}
	pair, err := parsePair(secret.Data[KeyCertificate], secret.Data[KeyPrivateKey])
	return pair, true, err
}

// issueLeaf puts another server certificate into the Secret.
func (s *Store) issueLeaf(secret *corev1.Secret, ca *CA, names []string, reason string) error {
	pair, err := ca.IssueServer("portcullis", names, s.opts.Clock(), s.opts.LeafLifetime)
	if err != nil {
		return fmt.Errorf("issue the server certificate: %w", err)
	}
	secret.Data[KeyCertificate], secret.Data[KeyPrivateKey] = pair.CertificatePEM(), pair.KeyPEM()
	s.opts.Logger.Info("issued a server certificate", "secret", secret.Name, "reason", reason,
		"names", certificateNames(pair.Certificate()), "notAfter", pair.Certificate().NotAfter)
	return nil
}

// currentLeaf is the certificate that the Secret holds, and why it will not do;
// the reason is empty where it will. It is nil where none could be read.
func (s *Store) currentLeaf(secret *corev1.Secret, ca *CA, names []string, now time.Time) (*Pair, string) {
	if len(secret.Data[KeyCertificate]) == 0 || len(secret.Data[KeyPrivateKey]) == 0 {
		return nil, "there was none"
	}
	pair, err := parsePair(secret.Data[KeyCertificate], secret.Data[KeyPrivateKey])
	if err != nil {
		return nil, "the old one cannot be read: " + err.Error()
	}
	leaf := pair.Certificate()
	if leaf.CheckSignatureFrom(ca.Certificate()) != nil {
		return pair, "the old one is not signed by the CA"
	}
	if ahead(leaf, now) {
		return pair, "the old one is not valid yet: it was made while a clock was ahead, or this one is behind"
	}
	if due(leaf, now) {
		return pair, "the old one is past two thirds of its lifetime"
	}
	have := certificateNames(leaf)
	for _, name := range names {
		if !slices.Contains(have, canonicalName(name)) {
			return pair, fmt.Sprintf("the old one lacks the name %.80q", name)
		}
	}
	return pair, ""
}

// due reports whether a certificate has less than a third of its lifetime left.
func due(leaf *x509.Certificate, now time.Time) bool { return !now.Before(dueAt(leaf)) }

// ahead reports whether a certificate is not valid yet. Since it begins before it
// is made, by backdate, it was made by a clock that was ahead of ours by more than that.
func ahead(cert *x509.Certificate, now time.Time) bool { return now.Before(cert.NotBefore) }

// wantedNames are the names of the next certificate. While the old one is not
// yet due its names are kept beside the wanted ones: two replicas that know
// different names, as happens while a new version rolls out, would otherwise
// take them from each other forever. Names that nobody wants any more end with
// the next renewal.
func wantedNames(current *Pair, names []string, now time.Time) []string {
	var out []string
	for _, name := range names {
		if name = canonicalName(name); !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	if current == nil || due(current.Certificate(), now) {
		return out
	}
	for _, name := range certificateNames(current.Certificate()) {
		if len(out) < maxNames && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// certificateNames are a certificate's names as canonicalName writes them.
func certificateNames(cert *x509.Certificate) []string {
	names := make([]string, 0, len(cert.DNSNames)+len(cert.IPAddresses))
	names = append(names, cert.DNSNames...)
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}
