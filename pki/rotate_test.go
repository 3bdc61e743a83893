package pki

import (
	"crypto/x509"
	"testing"
	"time"
)

// The serving CA is replaced by itself, long before it ends, and nobody is locked out on the way.
func TestServingCAIsReplacedInTime(t *testing.T) {
	c, now := installed(t), &clock{now: start}
	m := newTestManager(t, c, now.Now)
	check(t, m)
	old := m.ServingTrust()
	now.advance(DefaultCALifetime * 2 / 3)
	trusts := make([]Bundle, 0, 5)
	for range 5 {
		check(t, m)
		trusts = append(trusts, m.ServingTrust())
		leaf, err := m.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		// Whoever has last read the trust one step ago is served.
		for _, trust := range trusts[max(0, len(trusts)-2):] {
			if _, err := leaf.Leaf.Verify(x509.VerifyOptions{Roots: trust.Pool(), CurrentTime: now.Now()}); err != nil {
				t.Errorf("step %d: %v", len(trusts), err)
			}
		}
		now.advance(DefaultOverlap)
	}
	if trust := m.ServingTrust(); len(trust) != 1 || trust[0].Equal(old[0]) {
		t.Errorf("in the end %d CAs are trusted", len(trust))
	}
	for key := range secretData(t, c, servingSecret).Data {
		if key == keyNextKey || key == keyNextCertificate || key == keyRotation {
			t.Errorf("%s is left behind", key)
		}
	}
}

// A CA that somebody has put into the bundle by hand stays there.
func TestReplacingACALeavesOthersInTheBundle(t *testing.T) {
	c, now := installed(t), &clock{now: start}
	m := newTestManager(t, c, now.Now)
	check(t, m)
	others, err := NewCA("somebody's", start, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	secret := secretData(t, c, servingSecret)
	secret.Data[KeyCACertificate] = append(secret.Data[KeyCACertificate], others.Bundle().PEM()...)
	if err := c.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	for range 3 { // only one begins
		if err := m.store.RotateServingCA(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 {
		check(t, m)
		now.advance(DefaultOverlap)
	}
	trust := m.ServingTrust()
	if len(trust) != 2 || !trust[0].Equal(others.Certificate()) {
		t.Errorf("%d CAs are trusted", len(trust))
	}
}

func TestSinkCAIsReplacedByPeople(t *testing.T) {
	c, now := installed(t), &clock{now: start}
	m := newTestManager(t, c, now.Now)
	check(t, m)
	client, err := m.store.IssueSinkClient(t.Context(), "cp-1", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err = m.store.FinishSinkCA(t.Context()); err == nil {
		t.Error("a change that nobody has begun can be finished")
	}
	now.advance(DefaultCALifetime * 2 / 3)
	check(t, m)
	if len(m.SinkTrust()) != 1 {
		t.Error("the sink CA is replaced by itself")
	}
	now.advance(-DefaultCALifetime * 2 / 3)
	if err = m.store.BeginSinkCA(t.Context()); err != nil {
		t.Fatal(err)
	}
	check(t, m)
	both, shown := m.SinkTrust(), m.current.Load().sinkCertificate.Leaf
	if len(both) != 2 || shown.CheckSignatureFrom(both[0]) != nil {
		t.Errorf("%d CAs, and the sink shows a certificate of the next one already", len(both))
	}
	if err = m.store.FinishSinkCA(t.Context()); err != nil {
		t.Fatal(err)
	}
	check(t, m)
	shown = m.current.Load().sinkCertificate.Leaf
	verify(t, client, m.SinkTrust(), start, x509.ExtKeyUsageClientAuth)
	if shown.CheckSignatureFrom(both[1]) != nil || len(m.SinkTrust()) != 2 {
		t.Error("the sink does not show a certificate of the next CA, or the old one is trusted no more")
	}
	next, err := m.store.IssueSinkClient(t.Context(), "cp-1", time.Hour)
	if err != nil || next.Certificate().CheckSignatureFrom(both[1]) != nil {
		t.Errorf("the next CA does not sign: %v", err)
	}
}

func TestRotateCertificateKeepsTheNames(t *testing.T) {
	c, now := installed(t), &clock{now: start}
	s := newTestStore(t, c, now.Now)
	if err := s.RotateCertificate(t.Context()); err == nil {
		t.Error("a certificate that is not there is replaced")
	}
	before := ensureServing(t, s, "portcullis.svc", "127.0.0.1")
	if err := s.RotateCertificate(t.Context()); err != nil {
		t.Fatal(err)
	}
	after := ensureServing(t, s, "portcullis.svc", "127.0.0.1")
	if after.Pair.Certificate().Equal(before.Pair.Certificate()) || len(certificateNames(after.Pair.Certificate())) != 2 {
		t.Errorf("names %v", certificateNames(after.Pair.Certificate()))
	}
}

func TestARotationThatCannotBeReadWaitsAnew(t *testing.T) {
	c, now := installed(t), &clock{now: start}
	m := newTestManager(t, c, now.Now)
	check(t, m)
	if err := m.store.RotateServingCA(t.Context()); err != nil {
		t.Fatal(err)
	}
	secret := secretData(t, c, servingSecret)
	secret.Data[keyRotation] = []byte("{")
	if err := c.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		check(t, m)
		now.advance(DefaultOverlap)
	}
	if trust := m.ServingTrust(); len(trust) != 1 {
		t.Errorf("in the end %d CAs are trusted", len(trust))
	}
}
