package pki

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Role is what an authority's certificate does.
type Role string

// The roles.
const (
	// RoleSigns is that of the one authority that signs.
	RoleSigns Role = "signs"
	// RoleNext is trusted already, and signs next.
	RoleNext Role = "next"
	// RoleRetired signs no more, and will soon be trusted no more.
	RoleRetired Role = "retired"
	// RoleTrusted is trusted, and Portcullis leaves it alone: an earlier sink CA, or what somebody has put there.
	RoleTrusted Role = "trusted"
)

// Authority is one certificate that is trusted.
type Authority struct {
	// Certificate must not be changed.
	Certificate *x509.Certificate
	Role        Role
	// Since is when it got its role, where that is known: for RoleNext and RoleRetired.
	Since time.Time
	// Changes is when the server takes the next step with it; zero if only people do, or nothing is to be done.
	Changes time.Time
}

// State is what a Secret holds, without its keys.
type State struct {
	// Authorities are in the order of the bundle; none before the server's first start.
	Authorities []Authority
	// Certificate is the server certificate, nil if there is none. It must not be changed.
	Certificate *x509.Certificate
	// Renewal is when the server issues the certificate anew.
	Renewal time.Time
}

// Next is the authority that is to take over, nil if none is.
func (s State) Next() *Authority { return s.first(RoleNext) }

// Signs is the authority that signs, nil if there is none.
func (s State) Signs() *Authority { return s.first(RoleSigns) }

// Changing reports whether one authority is taking over from another.
func (s State) Changing() bool { return s.Next() != nil || s.first(RoleRetired) != nil }

func (s State) first(role Role) *Authority {
	i := slices.IndexFunc(s.Authorities, func(a Authority) bool { return a.Role == role })
	if i < 0 {
		return nil
	}
	return &s.Authorities[i]
}

// ServingState reads what there is of the serving CA, and changes nothing.
func (s *Store) ServingState(ctx context.Context) (State, error) {
	state, err := s.state(ctx, s.opts.ServingSecret)
	for i := range state.Authorities {
		a := &state.Authorities[i]
		switch a.Role {
		case RoleSigns:
			if !state.Changing() {
				a.Changes = dueAt(a.Certificate)
			}
		case RoleNext, RoleRetired:
			if !a.Since.IsZero() {
				a.Changes = a.Since.Add(s.opts.Overlap)
			}
		case RoleTrusted:
		}
	}
	return state, err
}

// SinkState reads what there is of the sink CA, and changes nothing.
func (s *Store) SinkState(ctx context.Context) (State, error) {
	return s.state(ctx, s.opts.SinkCASecret)
}

func (s *Store) state(ctx context.Context, name string) (state State, err error) {
	err = s.edit(ctx, name, func(secret *corev1.Secret) (bool, error) {
		var failed error
		state, failed = s.readState(secret)
		return false, failed
	})
	return state, err
}

func (s *Store) readState(secret *corev1.Secret) (state State, err error) {
	if text := secret.Data[KeyCertificate]; len(text) > 0 {
		pair, failed := parsePair(text, secret.Data[KeyPrivateKey])
		if failed != nil {
			return state, fmt.Errorf("the server certificate: %w", failed)
		}
		state.Certificate, state.Renewal = pair.Certificate(), dueAt(pair.Certificate())
	}
	if len(secret.Data[KeyCACertificate]) == 0 && len(secret.Data[KeyCAKey]) == 0 {
		return state, nil
	}
	ca, err := ParseCA(secret.Data[KeyCACertificate], secret.Data[KeyCAKey])
	if err != nil {
		return state, err
	}
	var next *x509.Certificate
	if key := secret.Data[keyNextKey]; len(key) > 0 {
		other, failed := ParseCA(secret.Data[KeyCACertificate], key)
		if failed != nil {
			return state, fmt.Errorf("the next CA: %w", failed)
		}
		next = other.Certificate()
	}
	how := s.readRotation(secret)
	for _, cert := range ca.Bundle() {
		state.Authorities = append(state.Authorities, how.authority(cert, ca.Certificate(), next))
	}
	return state, nil
}

// authority is what a certificate of the bundle does.
func (r rotation) authority(cert, signs, next *x509.Certificate) Authority {
	a := Authority{Certificate: cert, Role: RoleTrusted}
	since, retired := r.Retired[fingerprint(cert.Raw)]
	switch {
	case cert == signs:
		a.Role = RoleSigns
	case next != nil && cert.Equal(next):
		a.Role = RoleNext
		if r.Trusted != nil {
			a.Since = *r.Trusted
		}
	case retired:
		a.Role, a.Since = RoleRetired, since
	}
	return a
}

// dueAt is when a certificate has a third of its lifetime left.
func dueAt(cert *x509.Certificate) time.Time {
	return cert.NotBefore.Add(cert.NotAfter.Sub(cert.NotBefore) * 2 / 3)
}
