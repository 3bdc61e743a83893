package pki

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// KeyAdmissionPaths is the serving Secret's data key of the paths under which API servers ask the webhook.
const KeyAdmissionPaths = "admission-paths"

// admissionPrefix is what such a path begins with. Its secret follows, in letters
// that Kubernetes allows in a webhook's path: those of a DNS name.
const admissionPrefix = "/admit/"

// maxPaths bounds what is read of them: the one in use, the one before and the one after, and some room.
const maxPaths = 8

// admissionPath is a URL path that only API servers know.
type admissionPath struct {
	Secret string `json:"secret"`
	// Since is when it was made. It is good from then on, and told to API servers after
	// the overlap, when all replicas know it.
	Since time.Time `json:"since"`
}

func newAdmissionPath(now time.Time) admissionPath {
	secret := make([]byte, tokenBytes)
	_, _ = rand.Read(secret) // it never fails
	return admissionPath{Secret: hex.EncodeToString(secret), Since: now}
}

// admissionPaths are those that are good, the oldest first.
type admissionPaths []admissionPath

// told is the one that API servers are to use: the newest that all replicas know.
func (p admissionPaths) told(now time.Time, overlap time.Duration) int {
	for i, path := range slices.Backward(p) {
		if i == 0 || !now.Before(path.Since.Add(overlap)) {
			return i
		}
	}
	return 0
}

// known reports whether a URL's path is one of them. It takes the same time for all that are not.
func (p admissionPaths) known(path string) bool {
	secret, ok := secretIn(path)
	if !ok {
		return false // says nothing of the secret
	}
	given, found := sha256.Sum256([]byte(secret)), 0
	for _, known := range p {
		want := sha256.Sum256([]byte(known.Secret))
		found |= subtle.ConstantTimeCompare(given[:], want[:])
	}
	return found == 1
}

// secretIn is the part of an admission path that is secret, if the path has the form of one.
func secretIn(path string) (secret string, ok bool) {
	secret, ok = strings.CutPrefix(path, admissionPrefix)
	return secret, ok && len(secret) == hex.EncodedLen(tokenBytes)
}

// IsAdmissionPath reports whether a URL's path has the form of those that API servers are told. Whether it is
// one of them only the Manager knows.
func IsAdmissionPath(path string) bool {
	_, ok := secretIn(path)
	return ok
}

// ensurePaths returns the paths that are good. It makes one where there is none, where what is there
// cannot be read, and where the newest is past two thirds of its lifetime.
func (s *Store) ensurePaths(ctx context.Context) (admissionPaths, error) {
	return s.editPaths(ctx, func(paths admissionPaths, now time.Time) admissionPaths {
		if len(paths) > 0 && now.Before(paths[len(paths)-1].Since.Add(s.opts.LeafLifetime*2/3)) {
			return paths
		}
		return append(paths, newAdmissionPath(now))
	})
}

// RotateAdmissionPath makes a new path under which API servers are to ask. They are told of it after the overlap; the old one
// ends when they have had as long to learn of the new one. While an earlier change goes on it does nothing.
func (s *Store) RotateAdmissionPath(ctx context.Context) error {
	_, err := s.editPaths(ctx, func(paths admissionPaths, now time.Time) admissionPaths {
		if len(paths) > 1 {
			return paths
		}
		return append(paths, newAdmissionPath(now))
	})
	return err
}

// retirePaths ends the paths that API servers have not been told for so long that none
// uses them. The caller has seen that they are told the newer one.
func (s *Store) retirePaths(ctx context.Context) error {
	_, err := s.editPaths(ctx, func(paths admissionPaths, now time.Time) admissionPaths {
		i := paths.told(now, s.opts.Overlap)
		if i == 0 || now.Before(paths[i].Since.Add(2*s.opts.Overlap)) {
			return paths
		}
		s.opts.Logger.Info("an old admission path ended", "secret", s.opts.ServingSecret)
		return paths[i:]
	})
	return err
}

// editPaths lets change alter the paths, which it must not do in place.
func (s *Store) editPaths(ctx context.Context, change func(admissionPaths, time.Time) admissionPaths) (admissionPaths, error) {
	var out admissionPaths
	err := s.edit(ctx, s.opts.ServingSecret, func(secret *corev1.Secret) (bool, error) {
		now := s.opts.Clock()
		paths, changed := s.readPaths(secret, now)
		out = change(slices.Clip(paths), now)
		if !changed && len(out) == len(paths) {
			return false, nil
		}
		text, err := json.Marshal(out) //nolint:gosec // into the Secret that it is for
		secret.Data[KeyAdmissionPaths] = text
		return true, err
	})
	return out, err
}

// readPaths reads what the Secret holds. What cannot be read is left out, and a time that a clock ahead of
// ours has set is now; changed says that either was found.
func (s *Store) readPaths(secret *corev1.Secret, now time.Time) (paths admissionPaths, changed bool) {
	text := secret.Data[KeyAdmissionPaths]
	if len(text) == 0 {
		return nil, false
	}
	var stored admissionPaths
	if err := json.Unmarshal(text, &stored); err != nil {
		// The error could quote a secret.
		s.opts.Logger.Error("the admission paths cannot be read, and are replaced", "secret", secret.Name)
		return nil, true
	}
	for _, path := range stored[:min(len(stored), maxPaths)] {
		if b, err := hex.DecodeString(path.Secret); err != nil || len(b) != tokenBytes {
			changed = true
			continue
		}
		if path.Since.After(now.Add(backdate)) {
			path.Since, changed = now, true
		}
		paths = append(paths, path)
	}
	return paths, changed || len(stored) > maxPaths
}

// Format writes how many there are, whatever the verb: a secret must not get into a log by way of %v.
func (p admissionPath) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, "admission path") }
