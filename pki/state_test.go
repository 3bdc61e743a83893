package pki

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// roles are what a state's authorities do.
func roles(s State) (found []Role) {
	for _, a := range s.Authorities {
		found = append(found, a.Role)
	}
	return found
}

func TestStateOfTheServingCAFollowsItsReplacement(t *testing.T) {
	c, now := installed(t), &clock{now: start}
	m := newTestManager(t, c, now.Now)
	if empty, err := m.store.ServingState(t.Context()); err != nil || empty.Signs() != nil || empty.Certificate != nil {
		t.Errorf("before the first start: %+v, %v", empty, err)
	}
	check(t, m)
	if err := m.store.RotateServingCA(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, want := range [][]Role{{RoleSigns, RoleNext}, {RoleRetired, RoleSigns}, {RoleSigns}} {
		state, err := m.store.ServingState(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, roles(state)); diff != "" {
			t.Fatalf("step %d (-want +got):\n%s", i, diff)
		}
		for _, a := range state.Authorities {
			if a.Role != RoleSigns && !a.Changes.Equal(now.Now().Add(DefaultOverlap)) {
				t.Errorf("step %d: %s changes at %s", i, a.Role, a.Changes)
			}
		}
		if state.Changing() != (len(want) > 1) || state.Signs().Changes.IsZero() != state.Changing() {
			t.Errorf("step %d: %+v", i, state)
		}
		now.advance(DefaultOverlap)
		check(t, m)
	}
}

func TestStateOfTheSinkCAIsChangedByPeople(t *testing.T) {
	c, now := installed(t), &clock{now: start}
	m := newTestManager(t, c, now.Now)
	check(t, m)
	before, err := m.store.SinkState(t.Context())
	if err != nil || before.Changing() || !before.Renewal.After(now.Now()) {
		t.Errorf("%+v, %v", before, err)
	}
	if err = m.store.BeginSinkCA(t.Context()); err != nil {
		t.Fatal(err)
	}
	begun, err := m.store.SinkState(t.Context())
	if diff := cmp.Diff([]Role{RoleSigns, RoleNext}, roles(begun)); diff != "" || err != nil {
		t.Fatalf("%s, %v", diff, err)
	}
	if next := begun.Next(); !next.Since.Equal(start) || !next.Changes.IsZero() {
		t.Errorf("%+v", next)
	}
	now.advance(time.Minute)
	if err = m.store.FinishSinkCA(t.Context()); err != nil {
		t.Fatal(err)
	}
	check(t, m)
	after, err := m.store.SinkState(t.Context())
	if diff := cmp.Diff([]Role{RoleTrusted, RoleSigns}, roles(after)); diff != "" || err != nil || after.Changing() {
		t.Errorf("%s, %v", diff, err)
	}
}

func TestStateOfWhatCannotBeReadIsAnError(t *testing.T) {
	c, now := installed(t), &clock{now: start}
	s := newTestStore(t, c, now.Now)
	ensureServing(t, s, "portcullis.svc")
	for _, key := range []string{KeyCACertificate, KeyCAKey, KeyCertificate, keyNextKey} {
		secret := secretData(t, c, servingSecret)
		before := secret.Data[key]
		secret.Data[key] = []byte("x")
		if err := c.Update(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
		if state, err := s.ServingState(t.Context()); err == nil {
			t.Errorf("%s: %+v", key, state)
		}
		secret = secretData(t, c, servingSecret)
		secret.Data[key] = before
		if err := c.Update(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
	}
}
