package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
	"github.com/portcullis-dev/portcullis/pki"
	"github.com/portcullis-dev/portcullis/test/child"
	"github.com/portcullis-dev/portcullis/test/serverprocess"
	"github.com/portcullis-dev/portcullis/test/standalone"
)

// sample is the review that is sent: a recorded one.
const sample = "webhook/testdata/exec.json"

// atMost is what a verdict may take, of what the empty webhook takes.
const atMost = 1.0

// side is one of the two webhooks.
type side struct {
	name   string
	client *http.Client
	url    string
	pid    int
	// p50 and p99 are those of the rounds; processor is what the process used for one review, in each of them.
	p50, p99, processor []time.Duration
}

// printVerdicts fails if a verdict takes longer than the empty webhook's in three quarters of the rounds.
func printVerdicts(t standalone.TB, out io.Writer, o options) error {
	t.Helper()
	body, err := sent(sample)
	if err != nil {
		t.Fatalf("%v: run it in the repository's root", err)
	}
	sides := []*side{ours(t, o, body), emptySide(t)}
	for _, s := range sides { // connections, buffers and caches
		s.round(t, body, 2000)
		s.p50, s.p99, s.processor = nil, nil, nil
	}
	for i := range o.rounds {
		for j := range sides {
			sides[(i+j)%len(sides)].round(t, body, o.reviews)
		}
	}
	return compare(out, sides[0], sides[1], o)
}

// sent is a recorded review as API servers send them: without white space.
func sent(file string) ([]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = json.Compact(&out, text)
	return out.Bytes(), err
}

// round sends reviews one at a time.
func (s *side) round(t standalone.TB, body []byte, reviews int) {
	t.Helper()
	took := make([]time.Duration, reviews)
	before := used(t, s.pid)
	for i := range took {
		begin := time.Now()
		if _, err := s.review(t.Context(), body); err != nil {
			t.Fatal(err)
		}
		took[i] = time.Since(begin)
	}
	s.p50, s.p99 = append(s.p50, quantile(took, 50)), append(s.p99, quantile(took, 99))
	s.processor = append(s.processor, (used(t, s.pid)-before)/time.Duration(reviews))
}

// used is the time of a processor that a process has taken so far, in hundredths of a second.
func used(t standalone.TB, pid int) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	// The fields after the command's name, which is in parentheses: utime and stime are the 12th and 13th.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	var ticks time.Duration
	for _, field := range fields[11:13] {
		n, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		ticks += time.Duration(n)
	}
	return ticks * 10 * time.Millisecond
}

func mean(all []time.Duration) time.Duration {
	var sum time.Duration
	for _, d := range all {
		sum += d
	}
	return sum / time.Duration(max(len(all), 1))
}

// review returns what the webhook says.
func (s *side) review(ctx context.Context, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || resp.ProtoMajor != 2) {
		err = fmt.Errorf("%s: %s over %s: %.200s", s.name, resp.Status, resp.Proto, answer)
	}
	return answer, err
}

// compare prints the table. The ratios are those of the rounds: what disturbs one webhook disturbs the other as well.
func compare(out io.Writer, ours, theirs *side, o options) error {
	fmt.Fprintf(out, "A verdict, with %d quarantines, in µs: medians of %d rounds of %d reviews\n\n", o.quarantines, o.rounds, o.reviews)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\tempty webhook\tPortcullis\tratio\tlower quartile\tupper quartile\t")
	var errs []error
	for _, row := range []struct {
		name         string
		ours, theirs []time.Duration
	}{{"p50", ours.p50, theirs.p50}, {"p99", ours.p99, theirs.p99}} {
		ratios := make([]float64, len(row.ours))
		for i := range ratios {
			ratios[i] = float64(row.ours[i]) / float64(row.theirs[i])
		}
		low := quantile(ratios, 25)
		fmt.Fprintf(table, "%s\t%s\t%s\t%.2f\t%.2f\t%.2f\t\n", row.name, micros(quantile(row.theirs, 50)), micros(quantile(row.ours, 50)),
			quantile(ratios, 50), low, quantile(ratios, 75))
		if low > atMost {
			errs = append(errs, fmt.Errorf("%s of a verdict: %.2f times that of the empty webhook, in three quarters of the rounds; at most %.2f is promised", row.name, low, atMost))
		}
	}
	// Over all rounds: one of them is too short for the kernel's clock.
	fmt.Fprintf(table, "of a processor\t%s\t%s\t%.2f\t\t\t\n", micros(mean(theirs.processor)), micros(mean(ours.processor)),
		float64(mean(ours.processor))/float64(mean(theirs.processor)))
	if err := table.Flush(); err != nil {
		errs = append(errs, err)
	}
	fmt.Fprintln(out)
	return errors.Join(errs...)
}

// ours is the real server with its quarantines, and with the pod that the review is about.
func ours(t standalone.TB, o options, body []byte) *side {
	t.Helper()
	site := serverprocess.New(t, serverprocess.Options{Binary: o.binary})
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(body, &review); err != nil {
		t.Fatal(err)
	}
	namespace(t, site.Objects, review.Request.Namespace)
	create(t, site.Objects, unscheduled(review.Request.Namespace, review.Request.Name))
	objects := typed(t, site.API)
	fill(t, objects, 0, o.quarantines, true)
	last := quarantineOf(v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: "last"}, "last")
	create(t, objects, last)
	site.Start(t)
	s := &side{name: "Portcullis", pid: site.Process().PID()}
	s.client, s.url = site.Reviewer(t)
	s.awaitDenial(t, review)
	awaitStatus(t, objects)
	return s
}

// awaitDenial waits until the server knows the last quarantine.
func (s *side) awaitDenial(t standalone.TB, review admissionv1.AdmissionReview) {
	t.Helper()
	review.Request.UserInfo.Username = "last"
	body, err := json.Marshal(review)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the last quarantine is in force", func(ctx context.Context) error {
		answer, err := s.review(ctx, body)
		if err != nil {
			return err
		}
		var got admissionv1.AdmissionReview
		if err := json.Unmarshal(answer, &got); err != nil {
			return err
		}
		if got.Response.Allowed {
			return errors.New("it is not")
		}
		return nil
	})
}

// awaitStatus waits until the server has said of all quarantines that they are in force, and mirrored them: then it has nothing left to do.
func awaitStatus(t standalone.TB, objects client.Client) {
	t.Helper()
	eventually(t, "every quarantine has a status and a mirror", func(ctx context.Context) error {
		var all v1alpha1.QuarantineList
		if err := objects.List(ctx, &all); err != nil {
			return err
		}
		for _, q := range all.Items {
			if meta.FindStatusCondition(q.Status.Conditions, v1alpha1.ConditionEnforced) == nil {
				return fmt.Errorf("%s has none", q.Name)
			}
		}
		var mirrors corev1.LimitRangeList
		if err := objects.List(ctx, &mirrors, client.InNamespace(serverprocess.Namespace)); err != nil {
			return err
		}
		if len(mirrors.Items) < len(all.Items) {
			return fmt.Errorf("%d of %d are mirrored", len(mirrors.Items), len(all.Items))
		}
		return nil
	})
}

// emptySide is this command again, as the empty webhook.
func emptySide(t standalone.TB) *side {
	t.Helper()
	ca, err := pki.NewCA("bench", time.Now().Add(-time.Hour), 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.IssueServer("empty", []string{"127.0.0.1"}, time.Now().Add(-time.Minute), 23*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err = pair.WriteFiles(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")); err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	process := child.Start(t, child.Options{Path: self, Args: []string{"-empty", address, "-certificates", dir}, Log: filepath.Join(dir, "log")})
	transport := &http.Transport{
		ForceAttemptHTTP2: true, DisableCompression: true, TLSClientConfig: &tls.Config{RootCAs: ca.Bundle().Pool(), MinVersion: tls.VersionTLS12},
	}
	t.Cleanup(transport.CloseIdleConnections)
	s := &side{name: "empty", pid: process.PID(), client: &http.Client{Transport: transport, Timeout: 10 * time.Second}, url: "https://" + address + "/admit?timeout=2s"}
	ready := &side{name: "empty", client: s.client, url: "https://" + address + "/ready"}
	eventually(t, "the empty webhook answers", func(ctx context.Context) error {
		_, err := ready.review(ctx, nil)
		return err
	})
	return s
}
