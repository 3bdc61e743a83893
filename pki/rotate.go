package pki

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// The data keys of an authority's Secret while another one takes over.
const (
	keyNextCertificate = "next-ca.crt"
	keyNextKey         = "next-ca.key"
	keyRotation        = "rotation"
)

// rotation is how far one authority has taken over from another. It takes three steps, with the overlap between them: the
// next one is trusted; it signs; the old one is trusted no more.
type rotation struct {
	// Trusted is since when the next authority is in the bundle.
	Trusted *time.Time `json:"trusted,omitempty"`
	// Retired are certificates that no longer sign, by their SHA-256, and since when.
	Retired map[string]time.Time `json:"retired,omitempty"`
}

// readRotation reads how far it is. What cannot be read is forgotten: a step is then waited for anew.
func (s *Store) readRotation(secret *corev1.Secret) rotation {
	var r rotation
	if text := secret.Data[keyRotation]; len(text) > 0 {
		if err := json.Unmarshal(text, &r); err != nil {
			s.opts.Logger.Warn("how far a CA has taken over cannot be read", "secret", secret.Name, "error", err)
			r = rotation{}
		}
	}
	return r
}

func (r rotation) write(secret *corev1.Secret) error {
	if r.Trusted == nil && len(r.Retired) == 0 {
		delete(secret.Data, keyRotation)
		return nil
	}
	text, err := json.Marshal(r)
	secret.Data[keyRotation] = text
	return err
}

// RotateCertificate issues the server certificate anew, for the same names.
func (s *Store) RotateCertificate(ctx context.Context) error {
	return s.edit(ctx, s.opts.ServingSecret, func(secret *corev1.Secret) (bool, error) {
		ca, err := ParseCA(secret.Data[KeyCACertificate], secret.Data[KeyCAKey])
		if err != nil {
			return false, err
		}
		old, err := parsePair(secret.Data[KeyCertificate], secret.Data[KeyPrivateKey])
		if err != nil {
			return false, fmt.Errorf("the server certificate: %w", err)
		}
		return true, s.issueLeaf(secret, ca, certificateNames(old.Certificate()), "asked for")
	})
}

// RotateServingCA begins to replace the serving CA. The next one is trusted from now on; the Manager lets it sign after the overlap,
// and ends the trust in the old one after another. While an earlier change goes on it does nothing.
func (s *Store) RotateServingCA(ctx context.Context) error {
	return s.edit(ctx, s.opts.ServingSecret, func(secret *corev1.Secret) (bool, error) {
		return s.beginCA(secret, servingCAName)
	})
}

// BeginSinkCA begins to replace the sink CA: from now on clients that the next one has signed are let in, and SinkTrust has both. The
// file that API servers trust the sink by has to be replaced on all of them before FinishSinkCA.
func (s *Store) BeginSinkCA(ctx context.Context) error {
	return s.edit(ctx, s.opts.SinkCASecret, func(secret *corev1.Secret) (bool, error) {
		return s.beginCA(secret, sinkCAName)
	})
}

// FinishSinkCA lets the next sink CA sign: the sink's own certificate now, those of API servers when they
// are issued the next time. API servers that show one of the old CA are let in until it ends.
func (s *Store) FinishSinkCA(ctx context.Context) error {
	return s.edit(ctx, s.opts.SinkCASecret, func(secret *corev1.Secret) (bool, error) {
		if len(secret.Data[keyNextKey]) == 0 {
			return false, errors.New("no other sink CA is prepared")
		}
		_, err := s.promoteCA(secret, false)
		return true, err
	})
}

// beginCA makes the next authority, and has it trusted.
func (s *Store) beginCA(secret *corev1.Secret, commonName string) (bool, error) {
	state := s.readRotation(secret)
	if len(secret.Data[keyNextKey]) > 0 || len(state.Retired) > 0 {
		return false, nil
	}
	ca, err := ParseCA(secret.Data[KeyCACertificate], secret.Data[KeyCAKey])
	if err != nil {
		return false, err
	}
	if len(ca.Bundle()) >= maxBundle {
		return false, fmt.Errorf("there are %d CA certificates already: take some out of %s", maxBundle, KeyCACertificate)
	}
	now := s.opts.Clock()
	next, err := NewCA(commonName, now, s.opts.CALifetime)
	if err != nil {
		return false, err
	}
	key, err := next.KeyPEM()
	if err != nil {
		return false, err
	}
	secret.Data[keyNextCertificate], secret.Data[keyNextKey] = next.Bundle().PEM(), key
	secret.Data[KeyCACertificate] = slices.Concat(ca.Bundle(), next.Bundle()).PEM()
	state.Trusted = &now
	s.opts.Logger.Info("made the next certificate authority; it is trusted from now on", "secret", secret.Name,
		"commonName", commonName, "notAfter", next.Certificate().NotAfter)
	return true, state.write(secret)
}

// advanceServingCA takes the next step of a change of the serving CA, where it is time. The caller has seen
// that everybody is told to trust what the Secret says.
func (s *Store) advanceServingCA(ctx context.Context) (changed bool, err error) {
	err = s.edit(ctx, s.opts.ServingSecret, func(secret *corev1.Secret) (bool, error) {
		step := s.retireCAs
		if len(secret.Data[keyNextKey]) > 0 {
			step = s.advanceNext
		}
		var failed error
		changed, failed = step(secret)
		return changed, failed
	})
	return changed, err
}

// advanceNext lets the next authority sign when it has been trusted for long enough.
func (s *Store) advanceNext(secret *corev1.Secret) (bool, error) {
	state, now := s.readRotation(secret), s.opts.Clock()
	if state.Trusted == nil || state.Trusted.After(now.Add(backdate)) {
		state.Trusted = &now
		return true, state.write(secret)
	}
	if now.Before(state.Trusted.Add(s.opts.Overlap)) {
		return false, nil
	}
	return s.promoteCA(secret, true)
}

// promoteCA lets the next authority sign. The one before stays trusted; retire says that it is to end.
func (s *Store) promoteCA(secret *corev1.Secret, retire bool) (bool, error) {
	old, err := ParseCA(secret.Data[KeyCACertificate], secret.Data[KeyCAKey])
	if err != nil {
		return false, err
	}
	next, err := ParseCA(secret.Data[KeyCACertificate], secret.Data[keyNextKey])
	if err != nil {
		return false, fmt.Errorf("the next CA: %w", err)
	}
	now := s.opts.Clock()
	if ahead(next.Certificate(), now) {
		return false, nil
	}
	state := s.readRotation(secret)
	state.Trusted = nil
	if retire {
		state.Retired = make(map[string]time.Time)
		for _, cert := range old.Bundle() {
			if key, ok := old.key.Public().(interface{ Equal(crypto.PublicKey) bool }); ok && key.Equal(cert.PublicKey) {
				state.Retired[fingerprint(cert.Raw)] = now
			}
		}
	}
	secret.Data[KeyCAKey] = secret.Data[keyNextKey]
	delete(secret.Data, keyNextCertificate)
	delete(secret.Data, keyNextKey)
	s.opts.Logger.Info("another certificate authority signs from now on", "secret", secret.Name,
		"commonName", next.Certificate().Subject.CommonName, "notAfter", next.Certificate().NotAfter)
	return true, state.write(secret)
}

// retireCAs takes authorities out of the bundle that have not signed for long enough.
func (s *Store) retireCAs(secret *corev1.Secret) (bool, error) {
	state, now := s.readRotation(secret), s.opts.Clock()
	if len(state.Retired) == 0 {
		return false, nil
	}
	bundle, err := ParseBundle(secret.Data[KeyCACertificate])
	if err != nil {
		return false, err
	}
	keep := slices.DeleteFunc(slices.Clone(bundle), func(cert *x509.Certificate) bool {
		since, retired := state.Retired[fingerprint(cert.Raw)]
		return retired && !now.Before(since.Add(s.opts.Overlap))
	})
	if len(keep) == len(bundle) || len(keep) == 0 {
		return false, nil
	}
	for _, cert := range bundle {
		if !slices.Contains(keep, cert) {
			delete(state.Retired, fingerprint(cert.Raw))
		}
	}
	secret.Data[KeyCACertificate] = keep.PEM()
	s.opts.Logger.Info("an old certificate authority is trusted no more", "secret", secret.Name)
	return true, state.write(secret)
}

func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}
