package pki

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// toldPath is the path that API servers are told.
func toldPath(t testing.TB, c client.Client) string {
	t.Helper()
	var config admissionv1.ValidatingWebhookConfiguration
	if err := c.Get(t.Context(), client.ObjectKey{Name: webhookName}, &config); err != nil {
		t.Fatal(err)
	}
	paths := make([]string, 0, len(config.Webhooks))
	for _, w := range config.Webhooks {
		_, path, _ := strings.Cut(strings.TrimPrefix(*w.ClientConfig.URL, "https://"), "/")
		paths = append(paths, "/"+path)
	}
	if slices.Sort(paths); len(slices.Compact(paths)) != 1 {
		t.Fatalf("webhooks are told different paths: %d", len(paths))
	}
	return paths[0]
}

func check(t testing.TB, m *Manager) {
	t.Helper()
	if err := m.check(t.Context()); err != nil {
		t.Fatalf("check: %v", err)
	}
}

func TestAdmissionPathIsASecretThatStays(t *testing.T) {
	c, now := installed(t), &clock{now: start}
	m := newTestManager(t, c, now.Now)
	if m.KnownAdmissionPath("/admit/") || m.KnownAdmissionPath("") {
		t.Error("a path is known before there is one")
	}
	check(t, m)
	path := toldPath(t, c)
	if len(path) != len(admissionPrefix)+64 || !m.KnownAdmissionPath(path) {
		t.Fatalf("the path has %d characters, and is known: %v", len(path), m.KnownAdmissionPath(path))
	}
	for _, wrong := range []string{
		"", "/", "/admit", admissionPrefix, path + "/", path[1:], strings.ToUpper(path), path[:len(path)-1], "/" + path,
		path[:len(path)-1] + "x", admissionPrefix + strings.Repeat("0", 64),
	} {
		if m.KnownAdmissionPath(wrong) {
			t.Errorf("%d characters that are not the path are taken for it", len(wrong))
		}
	}
	now.advance(30 * 24 * time.Hour)
	again := newTestManager(t, c, now.Now)
	check(t, again)
	if toldPath(t, c) != path || !again.KnownAdmissionPath(path) {
		t.Error("a restart changed the path")
	}
	for _, text := range []string{fmt.Sprintf("%v", m.current.Load().paths), fmt.Sprintf("%+v", m.current.Load().paths[0])} {
		if strings.Contains(text, path[len(admissionPrefix):]) {
			t.Errorf("the secret is printed: %s", text)
		}
	}
}

func TestAdmissionPathIsReplacedInTime(t *testing.T) {
	c, now := installed(t), &clock{now: start}
	m := newTestManager(t, c, now.Now)
	check(t, m)
	old := toldPath(t, c)
	now.advance(DefaultLeafLifetime * 2 / 3)
	check(t, m)
	if toldPath(t, c) != old || len(m.current.Load().paths) != 2 {
		t.Error("API servers are told a path that other replicas may not know")
	}
	now.advance(DefaultOverlap)
	check(t, m)
	next := toldPath(t, c)
	if next == old || !m.KnownAdmissionPath(old) || !m.KnownAdmissionPath(next) {
		t.Error("the new path is not told, or one of both is not good")
	}
	now.advance(DefaultOverlap)
	check(t, m)
	check(t, m)
	if m.KnownAdmissionPath(old) || toldPath(t, c) != next {
		t.Error("the old path does not end")
	}
}

// An API server that nobody could tell of the new path still has the old one.
func TestAnOldPathEndsOnlyWhenAPIServersAreToldTheNewOne(t *testing.T) {
	c := &countingClient{Client: installed(t), checks: make(chan struct{})}
	now := &clock{now: start}
	m := newTestManager(t, c, now.Now)
	check(t, m)
	old := toldPath(t, c.Client)
	if err := m.store.RotateAdmissionPath(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.opts.WebhookConfiguration = "away"
	for range 5 {
		now.advance(DefaultOverlap)
		if err := m.check(t.Context()); err == nil {
			t.Fatal("a configuration that is away is no error")
		}
	}
	if !m.KnownAdmissionPath(old) {
		t.Error("the path that API servers use has ended")
	}
}

func TestPathsThatCannotBeReadAreReplaced(t *testing.T) {
	for name, text := range map[string]string{
		"no JSON":      `{`,
		"no secret":    `[{"secret":"","since":"2026-01-01T00:00:00Z"}]`,
		"a short one":  `[{"secret":"00ff","since":"2026-01-01T00:00:00Z"}]`,
		"no hex":       `[{"secret":"` + strings.Repeat("x", 64) + `"}]`,
		"far too many": `[` + strings.Repeat(`{"secret":"zz"},`, 10_000) + `{}]`,
	} {
		c, now := installed(t), &clock{now: start}
		secret := secretData(t, c, servingSecret)
		secret.Data = map[string][]byte{KeyAdmissionPaths: []byte(text)}
		if err := c.Update(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
		m := newTestManager(t, c, now.Now)
		check(t, m)
		if path := toldPath(t, c); !m.KnownAdmissionPath(path) || len(m.current.Load().paths) != 1 {
			t.Errorf("%s: %d paths", name, len(m.current.Load().paths))
		}
	}
}

// What a clock that was ahead has set would never come true.
func TestAPathOfAClockAhead(t *testing.T) {
	c, now := installed(t), &clock{now: start.Add(1000 * time.Hour)}
	m := newTestManager(t, c, now.Now)
	check(t, m)
	old := toldPath(t, c)
	if err := m.store.RotateAdmissionPath(t.Context()); err != nil {
		t.Fatal(err)
	}
	now.advance(-1000 * time.Hour)
	for range 4 {
		check(t, m)
		now.advance(DefaultOverlap)
	}
	if toldPath(t, c) == old || m.KnownAdmissionPath(old) {
		t.Error("the path is not replaced")
	}
}

func TestServicesAreToldThePathToo(t *testing.T) {
	slash := "/"
	service := &admissionv1.ServiceReference{Name: "portcullis", Path: &slash}
	for _, cc := range []*admissionv1.WebhookClientConfig{{Service: service}, {Service: &admissionv1.ServiceReference{}}} {
		for i, want := range []bool{true, false} {
			changed, err := setPath(cc, "/admit/x")
			if err != nil || changed != want || *cc.Service.Path != "/admit/x" {
				t.Errorf("%d: changed %v, %v, %q", i, changed, err, *cc.Service.Path)
			}
		}
	}
	broken := "https://user:secret@%zz"
	if _, err := setPath(&admissionv1.WebhookClientConfig{URL: &broken}, "/x"); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("a broken URL: %v", err)
	}
}
