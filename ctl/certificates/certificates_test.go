package certificates

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/yaml"

	"github.com/portcullis-dev/portcullis/config"
	"github.com/portcullis-dev/portcullis/pki"
)

var start = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// user runs the commands at a time.
type user struct {
	client client.WithWatch
	now    time.Time
	// namespace is what the flag says.
	namespace string
}

func (u *user) run(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	streams, _, out, errOut := genericiooptions.NewTestIOStreams()
	command := New(Options{
		Connect:   func() (client.WithWatch, error) { return u.client, nil },
		Namespace: func(fallback string) string { return cmp.Or(u.namespace, fallback) },
		Streams:   streams, Now: func() time.Time { return u.now },
	})
	command.SilenceErrors, command.SilenceUsage = true, true
	command.SetOut(io.Discard)
	command.SetArgs(append([]string{}, args...)) // never those of the test
	err = command.ExecuteContext(t.Context())
	if all := out.String() + errOut.String(); strings.Contains(all, "PRIVATE KEY") {
		t.Errorf("%q shows a key:\n%s", args, all)
	}
	return out.String(), errOut.String(), err
}

// must is run where it has to succeed.
func (u *user) must(t *testing.T, args ...string) string {
	t.Helper()
	out, _, err := u.run(t, args...)
	if err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	return out
}

func (u *user) store(t *testing.T) *pki.Store {
	t.Helper()
	names := config.Default().PKI
	store, err := pki.NewStore(pki.StoreOptions{
		Client: u.client, Namespace: cmp.Or(u.namespace, DefaultNamespace), ServingSecret: names.ServingSecret, SinkCASecret: names.SinkCASecret,
		Clock: func() time.Time { return u.now }, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// secrets are as the chart makes them.
func secrets() []client.Object {
	in := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: DefaultNamespace, Name: name} }
	names := config.Default().PKI
	return []client.Object{
		&corev1.Secret{ObjectMeta: in(names.ServingSecret)}, &corev1.Secret{ObjectMeta: in(names.SinkCASecret)}, &corev1.ConfigMap{ObjectMeta: in(names.TrustConfigMap)},
	}
}

// installed is a cluster after the server's first start.
func installed(t *testing.T, more ...client.Object) *user {
	t.Helper()
	u := &user{client: fake.NewClientBuilder().WithObjects(append(secrets(), more...)...).Build(), now: start}
	store := u.store(t)
	_, err := store.EnsureServing(t.Context(), []string{"portcullis.portcullis.svc", "10.0.0.17"})
	if err == nil {
		_, err = store.EnsureSink(t.Context(), []string{"portcullis.portcullis.svc"})
	}
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// told is the server's configuration with certificates of somebody else.
func told(t *testing.T, change func(*config.Config)) client.Object {
	t.Helper()
	c := config.Default()
	change(&c)
	text, err := yaml.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: DefaultNamespace, Name: "portcullis"},
		Data:       map[string]string{"config.yaml": string(text)},
	}
}

func foreignFiles() config.CertificateFiles {
	return config.CertificateFiles{Certificate: "/tls.crt", Key: "/tls.key"}
}

// states are what show says, by name.
func states(t *testing.T, u *user) (found []string) {
	t.Helper()
	var l listing
	if err := json.Unmarshal([]byte(u.must(t, "show", "-o", "json")), &l); err != nil {
		t.Fatal(err)
	}
	for _, c := range l.Certificates {
		found = append(found, c.Name+" "+c.State)
	}
	return found
}

func TestShow(t *testing.T) {
	u := installed(t)
	u.now = start.Add(24 * time.Hour)
	want := `CERTIFICATE           SUBJECT                                        NOT BEFORE   NOT AFTER   STATE
serving CA            CN=portcullis serving CA,O=portcullis.dev      24h ago      in 9y       signs; replaced by the server in 6y242d
serving certificate   CN=portcullis                                  24h ago      in 89d      shown; renewed in 58d
sink CA               CN=portcullis audit sink CA,O=portcullis.dev   24h ago      in 9y       signs
sink certificate      CN=portcullis                                  24h ago      in 89d      shown; renewed in 58d
`
	if diff := gocmp.Diff(want, u.must(t, "show")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	wide := u.must(t, "show", "-o", "wide")
	if !strings.Contains(wide, "SHA-256") || !strings.Contains(wide, "portcullis.portcullis.svc,10.0.0.17") {
		t.Error(wide)
	}
	var l listing
	if err := yaml.UnmarshalStrict([]byte(u.must(t, "show", "-o", "yaml")), &l); err != nil || len(l.Certificates) != 4 || l.Namespace != DefaultNamespace {
		t.Errorf("%+v, %v", l, err)
	}
}

func TestShowSaysWhatEnds(t *testing.T) {
	u := installed(t)
	u.now = start.Add(pki.DefaultLeafLifetime + time.Hour)
	if out := u.must(t, "show"); strings.Count(out, "EXPIRED; shown; renewed at the server's next check") != 2 {
		t.Error(out)
	}
	u.now = start.Add(pki.DefaultCALifetime * 3 / 4)
	if out := u.must(t, "show"); !strings.Contains(out, "signs; replace it before it ends: portcullisctl certificates rotate sink begin") {
		t.Error(out)
	}
	u.now = start.Add(-time.Hour)
	if out := u.must(t, "show"); strings.Count(out, "not valid yet; ") != 4 {
		t.Error(out)
	}
}

func TestShowOfSomebodyElsesCertificates(t *testing.T) {
	u := installed(t, told(t, func(c *config.Config) { c.PKI.ServingFiles, c.PKI.SinkFiles = foreignFiles(), foreignFiles() }))
	want := []string{"serving certificate external", "sink CA signs", "sink certificate external"}
	if diff := gocmp.Diff(want, states(t, u)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if out := u.must(t, "show"); strings.Count(out, "somebody else's, who renews it") != 2 {
		t.Error(out)
	}
}

// TestShowGoesOn: what cannot be read does not hide the rest.
func TestShowGoesOn(t *testing.T) {
	u := installed(t)
	secret := &corev1.Secret{}
	key := client.ObjectKey{Namespace: DefaultNamespace, Name: config.Default().PKI.ServingSecret}
	if err := u.client.Get(t.Context(), key, secret); err != nil {
		t.Fatal(err)
	}
	secret.Data[pki.KeyCAKey] = []byte("x")
	if err := u.client.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	out, _, err := u.run(t, "show")
	if err == nil || !strings.Contains(err.Error(), "read the serving CA") || !strings.Contains(out, "portcullis audit sink CA") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestRotateServing(t *testing.T) {
	u := installed(t)
	out := u.must(t, "rotate", "serving")
	for _, want := range []string{"The next serving CA is made.", "in 60m", "an hour later", "certificates show"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if got := states(t, u)[:2]; !slices.Equal(got, []string{"serving CA signs", "serving CA next"}) {
		t.Errorf("%q", got)
	}
	u.now = start.Add(20 * time.Minute)
	if out = u.must(t, "show"); !strings.Contains(out, "trusted for 20m; signs in 40m") {
		t.Error(out)
	}
	if out = u.must(t, "rotate", "serving"); !strings.Contains(out, "already; nothing was changed") || !strings.Contains(out, "in 40m") {
		t.Error(out)
	}
	if got := states(t, u); len(got) != 5 {
		t.Errorf("a second time: %q", got)
	}
}

func TestRotateSink(t *testing.T) {
	u := installed(t)
	file := filepath.Join(t.TempDir(), "ca.crt")
	out := u.must(t, "rotate", "sink", "begin", "--trust-file", file)
	for _, want := range []string{"The next sink CA is made.", file + " has 2 certificates", "/etc/kubernetes/portcullis", "1.36", "rotate sink finish"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	trust := bundle(t, file)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o644 || len(trust) != 2 {
		t.Errorf("%d certificates in %v, %v", len(trust), info, err)
	}
	u.now = start.Add(30 * time.Minute)
	if out = u.must(t, "show"); !strings.Contains(out, "trusted for 30m; signs after portcullisctl certificates rotate sink finish") {
		t.Error(out)
	}

	out, _, err := u.run(t, "rotate", "sink", "finish")
	if err == nil || !strings.Contains(err.Error(), "nothing was changed") || !strings.Contains(out, "for 30m") || !strings.Contains(out, "every\ncontrol plane host") {
		t.Errorf("without --yes: %v\n%s", err, out)
	}
	if got := states(t, u)[2:4]; !slices.Equal(got, []string{"sink CA signs", "sink CA next"}) {
		t.Errorf("without --yes: %q", got)
	}
	out = u.must(t, "rotate", "sink", "finish", "--yes")
	if !strings.Contains(out, "audit config --api-server NAME --output-dir DIR --force") || !strings.Contains(out, "doctor") {
		t.Error(out)
	}
	if got := states(t, u)[2:4]; !slices.Equal(got, []string{"sink CA trusted", "sink CA signs"}) {
		t.Errorf("in the end: %q", got)
	}
	pair, err := u.store(t).IssueSinkClient(t.Context(), "cp-1", time.Hour)
	if err != nil || pair.Certificate().CheckSignatureFrom(trust[1]) != nil {
		t.Errorf("the next CA does not sign: %v", err)
	}
}

func bundle(t *testing.T, file string) pki.Bundle {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	found, err := pki.ParseBundle(text)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestTrustFile: it can be had again, and goes into a pipe alone.
func TestTrustFile(t *testing.T) {
	u := installed(t)
	file := filepath.Join(t.TempDir(), "ca.crt")
	u.must(t, "rotate", "sink", "begin", "--trust-file", file)
	if _, _, err := u.run(t, "rotate", "sink", "begin", "--trust-file", file); err == nil || !strings.Contains(err.Error(), "--force") {
		t.Errorf("it is there: %v", err)
	}
	if out := u.must(t, "rotate", "sink", "begin", "--trust-file", file, "--force"); !strings.Contains(out, "was there already") {
		t.Error(out)
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	out, instructions, err := u.run(t, "rotate", "sink", "begin", "--trust-file", "-")
	if err != nil || !bytes.Equal([]byte(out), want) || !strings.Contains(instructions, "What was written to standard output has 2 certificates") {
		t.Errorf("%v\n%s\n%s", err, out, instructions)
	}
}

func TestSinkWithSomebodyElsesCertificate(t *testing.T) {
	u := installed(t, told(t, func(c *config.Config) { c.PKI.SinkFiles = foreignFiles() }))
	out := u.must(t, "rotate", "sink", "begin")
	if !strings.Contains(out, "there is no file\nto replace") || strings.Contains(out, "ca.crt") {
		t.Error(out)
	}
	out, _, err := u.run(t, "rotate", "sink", "finish")
	if err == nil || strings.Contains(out, "certificate-authority") {
		t.Errorf("%v\n%s", err, out)
	}
	if out = u.must(t, "rotate", "sink", "finish", "--yes"); strings.Contains(out, "shows a certificate") {
		t.Error(out)
	}
}

// TestAnotherNamespace: commands that are printed find the same installation.
func TestAnotherNamespace(t *testing.T) {
	objects := secrets()
	for _, o := range objects {
		o.SetNamespace("security")
	}
	u := &user{client: fake.NewClientBuilder().WithObjects(objects...).Build(), now: start, namespace: "security"}
	if _, err := u.store(t).EnsureSink(t.Context(), []string{"portcullis.security.svc"}); err != nil {
		t.Fatal(err)
	}
	begun, _, err := u.run(t, "rotate", "sink", "begin", "--trust-file", filepath.Join(t.TempDir(), "ca.crt"))
	if err != nil || !strings.Contains(begun, "rotate sink finish --namespace security\n") {
		t.Errorf("%v\n%s", err, begun)
	}
	if out := u.must(t, "rotate", "sink", "finish", "--yes"); strings.Count(out, " --namespace security\n") != 2 {
		t.Error(out)
	}
}

func TestMistakes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ca.crt")
	begin := []string{"rotate", "sink", "begin", "--trust-file", file}
	empty := &user{client: fake.NewClientBuilder().WithObjects(secrets()...).Build(), now: start}
	nothing := &user{client: fake.NewClientBuilder().Build(), now: start}
	theirs := installed(t, told(t, func(c *config.Config) { c.PKI.ServingFiles, c.PKI.SinkFiles = foreignFiles(), foreignFiles() }))
	for name, tc := range map[string]struct {
		user *user
		args []string
		want string
	}{
		"nowhere for the file":       {installed(t), begin[:3], "--trust-file ca.crt"},
		"a folder that is not there": {installed(t), []string{"rotate", "sink", "begin", "--trust-file", file + "/x/y"}, "no such file"},
		"not begun":                  {installed(t), []string{"rotate", "sink", "finish", "--yes"}, "rotate sink begin"},
		"not started, sink":          {empty, begin, "when it first starts"},
		"not started, serving":       {empty, []string{"rotate", "serving"}, "when it first starts"},
		"not installed":              {nothing, begin, "is Portcullis installed in namespace portcullis?"},
		"not installed, show":        {nothing, []string{"show"}, "is Portcullis installed in namespace portcullis?"},
		"their serving certificate":  {theirs, []string{"rotate", "serving"}, "pki.servingTLSSecret"},
		"their sink certificate":     {theirs, begin, "no file to replace"},
		"format":                     {installed(t), []string{"show", "-o", "xml"}, "json, yaml, wide"},
	} {
		_, _, err := tc.user.run(t, tc.args...)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want one that says %q", name, err, tc.want)
		}
		if got := tc.user.next(t); got {
			t.Errorf("%s: the next CA is made all the same", name)
		}
		if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: a file all the same", name)
		}
	}
}

// next reports whether a next sink CA is there.
func (u *user) next(t *testing.T) bool {
	t.Helper()
	state, err := u.store(t).SinkState(t.Context())
	return err == nil && state.Next() != nil
}

// TestNextCAFromTheFuture: nothing changes, and the command does not say that it did.
func TestNextCAFromTheFuture(t *testing.T) {
	u := installed(t)
	u.now = start.Add(time.Hour)
	u.must(t, "rotate", "sink", "begin", "--trust-file", "-")
	u.now = start
	out, _, err := u.run(t, "rotate", "sink", "finish", "--yes")
	if err == nil || !strings.Contains(err.Error(), "ahead of this one") || out != "" {
		t.Errorf("%v\n%s", err, out)
	}
}
