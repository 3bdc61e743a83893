package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// TestNobodyGetsIn is the short run of what `make nogap` does at length.
func TestNobodyGetsIn(t *testing.T) {
	out := try(t, options{seed: 1, trials: 280, lanes: 4, timeout: 2 * time.Second, watchLag: usualLag, progress: func() {}})
	if err := out.print(t.Output()); err != nil {
		t.Fatal(err)
	}
	if err := out.err(); err != nil {
		t.Error(err)
	}
}

func TestAPlanHasAsManyOfEach(t *testing.T) {
	count := map[string]int{}
	numbers := map[int]bool{}
	for _, one := range plan(3, 280, "") {
		count[one.name]++
		numbers[one.number] = true
	}
	if len(numbers) != 280 || len(count) != len(kinds()) {
		t.Errorf("%d numbers of 280, %d kinds of %d", len(numbers), len(count), len(kinds()))
	}
	for _, k := range kinds() {
		want := 20
		if k.seen == nil {
			want = 10
		}
		if count[k.name] != want {
			t.Errorf("%s: %d, want %d", k.name, count[k.name], want)
		}
	}
	if plan(3, 10, "no such name") != nil && len(plan(3, 10, "no such name")) != 0 {
		t.Error("there are trials of no kind")
	}
}

func TestWhatIsWrong(t *testing.T) {
	in, out := true, false
	for name, row := range map[string]struct {
		admitted, welcome bool
		review            review
		wrong             bool
	}{
		"refused":                             {admitted: out},
		"got in":                              {admitted: in, wrong: true},
		"got in after a time-out":             {admitted: in, review: review{late: true}},
		"got in as the webhook failed":        {admitted: in, review: review{failed: "no answer"}},
		"welcome, and got in":                 {welcome: true, admitted: in},
		"welcome, and refused":                {welcome: true, admitted: out, wrong: true},
		"welcome, and refused after time-out": {welcome: true, admitted: out, review: review{late: true}, wrong: true},
	} {
		one := &trial{kind: kinds()[0], admitted: row.admitted, review: row.review}
		one.welcome = row.welcome
		o := &outcome{trials: append(many(40), one)}
		if one.wrong() != row.wrong || (o.err() != nil) != row.wrong {
			t.Errorf("%s: wrong: %t, error %v", name, one.wrong(), o.err())
		}
	}
}

// many are trials in which all was well.
func many(n int) []*trial {
	all := make([]*trial, n)
	for i := range all {
		all[i] = &trial{kind: kinds()[0]}
	}
	return all
}

func TestARunThatShowsNothingFails(t *testing.T) {
	busy := many(40)
	for _, one := range busy[:3] {
		one.review.late = true
	}
	for want, o := range map[string]*outcome{
		"too busy": {trials: busy}, "no agent": {trials: many(40), waits: waits{noAgent: 1}},
	} {
		if err := o.err(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v", want, err)
		}
	}
}

func TestReviewsAreReadFromTheAuditLog(t *testing.T) {
	log := filepath.Join(t.TempDir(), "audit.log")
	lines := strings.Join([]string{
		`{"requestURI":"/api/v1/namespaces/a/pods","annotations":{"exec.portcullis.dev/session":"none"}}`,
		`{"requestURI":"/api/v1/namespaces/a/pods/p/exec?command=one&stdout=true","annotations":{"exec.portcullis.dev/session":"s-1","exec.portcullis.dev/barrier":"failed"}}`,
		`{"requestURI":"/api/v1/namespaces/a/pods/p/exec?command=two","annotations":{"failed-open.validating.webhook.admission.k8s.io/round_0_index_0":"exec.portcullis.dev"}}`,
	}, "\n")
	if err := os.WriteFile(log, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := reviews(log)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]review{
		"one": {session: "s-1", late: true}, "two": {failed: "the API server got no answer from exec.portcullis.dev"},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(review{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("reviews (-want +got):\n%s", diff)
	}
}

func TestAWaitsQuantiles(t *testing.T) {
	w := waits{bounds: []float64{0.001, 0.002}, counts: []uint64{50, 98}, total: 100}
	for q, want := range map[uint64]string{50: "up to 1ms", 51: "up to 2ms", 99: "more than 2ms"} {
		if got := w.quantile(q); got != want {
			t.Errorf("p%d: %s, want %s", q, got, want)
		}
	}
}
