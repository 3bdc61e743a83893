package app

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/auditsink"
	"github.com/portcullis-dev/portcullis/bus"
	"github.com/portcullis-dev/portcullis/collector"
	"github.com/portcullis-dev/portcullis/correlator"
	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/jetstream"
	"github.com/portcullis-dev/portcullis/rule"
)

// fullUsers are so many that none of them has more than a share of the store.
const fullUsers = 400

// wantsAll is a rule of which every audit event of a user is a part, and which never fires.
const wantsAll = `apiVersion: portcullis.dev/v1alpha1
kind: DetectionRule
metadata: {name: wants-all}
spec:
  title: wants all
  description: test
  severity: low
  riskScore: 1
  query: |
    sequence by user.name with maxspan=1m
      [any where user.name like "user-*"]
      [any where user.name == "nobody"]
`

// TestFullStoreSheds: what does not fit is refused so that it comes again, and what was acknowledged is there.
func TestFullStoreSheds(t *testing.T) {
	store := openStore(t)
	b, err := store.Bus(t.Context(), jetstream.BusOptions{Retention: time.Hour, MaxBytes: smallBus})
	if err != nil {
		t.Fatal(err)
	}
	sink := sinkBefore(t, b)

	acknowledged, events := 0, 16
	for ; ; acknowledged++ {
		if acknowledged > 1000 {
			t.Fatal("the store is never full")
		}
		answer := deliver(sink, acknowledged, events)
		if answer.Code == http.StatusOK {
			continue
		}
		if answer.Code != http.StatusTooManyRequests || answer.Header().Get("Retry-After") != "1" {
			t.Fatalf("a full store answers %d %s (%v)", answer.Code, answer.Body, answer.Header())
		}
		break
	}
	if acknowledged == 0 {
		t.Fatal("nothing was ever taken")
	}
	// It stays so, and what no rule wants is taken all the same.
	if answer := deliver(sink, acknowledged, events); answer.Code != http.StatusTooManyRequests {
		t.Errorf("again: %d", answer.Code)
	}
	if answer := deliver(sink, acknowledged, 0); answer.Code != http.StatusOK {
		t.Errorf("nothing to store: %d %s", answer.Code, answer.Body)
	}
	t.Logf("%d deliveries of %d events fitted", acknowledged, events)

	waiting := acknowledged * events
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen := map[string]bool{}
	err = b.Consume(ctx, func(_ context.Context, c bus.Candidate) error {
		if id := c.Event.Audit.AuditID; !seen[id] {
			seen[id] = true
			if round, _, _ := strings.Cut(id, "/"); round < fmt.Sprintf("%06d", acknowledged) {
				waiting--
			}
		}
		if waiting == 0 {
			cancel()
		}
		return nil
	})
	if err != nil || waiting != 0 {
		t.Errorf("%d acknowledged events are gone (%v)", waiting, err)
	}
}

// smallBus is the least that a bus may hold.
const smallBus = 18 << 20

func openStore(t *testing.T) *jetstream.Store {
	t.Helper()
	store, err := jetstream.Open(t.Context(), jetstream.Options{
		Directory: t.TempDir(), Clock: time.Now, Logger: quiet(), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return store
}

// sinkBefore is the sink with everything that is between it and the bus.
func sinkBefore(t *testing.T, b bus.Bus) http.Handler {
	t.Helper()
	schema := field.New()
	rules, err := rule.Load(fstest.MapFS{"rules.yaml": {Data: []byte(wantsAll)}}, rule.Options{Schema: schema})
	if err != nil {
		t.Fatal(err)
	}
	join, err := correlator.New(correlator.Options{
		Rules: rules, Schema: schema, Bus: b, Clock: time.Now, Logger: quiet(), Registerer: prometheus.NewRegistry(),
		Detections: correlator.DetectionsFunc(func(context.Context, *event.Detection) {}),
	})
	if err != nil {
		t.Fatal(err)
	}
	pipeline := newPipeline(pipelineOptions{
		Pods: known(true), Clocks: canaries{}, Hold: &keeper{}, Claims: collector.NewClaims(time.Now), Next: join, Spool: newShelf(),
		Logger: quiet(), Registerer: prometheus.NewRegistry(),
	})
	rejects, err := auditsink.OpenRejects(auditsink.RejectsOptions{Dir: t.TempDir(), Logger: quiet(), Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	sink, err := auditsink.New(auditsink.Options{
		Pipeline: pipeline, Rejects: rejects, Logger: quiet(), Registerer: prometheus.NewRegistry(), Clock: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return sink
}

// deliver posts a list of events of alice's that do not compress, as cp-1.
func deliver(sink http.Handler, round, events int) *httptest.ResponseRecorder {
	var body bytes.Buffer
	body.WriteString(`{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[`)
	for i := range events {
		if i > 0 {
			body.WriteByte(',')
		}
		noise := make([]byte, 16<<10)
		for i := range noise {
			noise[i] = byte(rand.Uint32())
		}
		fmt.Fprintf(&body, `{"level":"Metadata","auditID":"%06d/%d","stage":"ResponseComplete","requestURI":"/api?x=%s","verb":"get",`+
			`"user":{"username":"user-%[5]d"},"requestReceivedTimestamp":%[4]q,"stageTimestamp":%[4]q}`,
			round, i, hex.EncodeToString(noise), time.Now().UTC().Format(time.RFC3339Nano), (round*events+i)%fullUsers)
	}
	body.WriteString(`]}`)
	r := httptest.NewRequest(http.MethodPost, "/audit/cp-1", &body)
	r.Header.Set("Content-Type", "application/json")
	cert := &x509.Certificate{Subject: pkix.Name{CommonName: auditsink.ClientCommonName("cp-1")}, NotAfter: time.Now().Add(time.Hour)}
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}, VerifiedChains: [][]*x509.Certificate{{cert}}}
	w := httptest.NewRecorder()
	sink.ServeHTTP(w, r)
	return w
}
