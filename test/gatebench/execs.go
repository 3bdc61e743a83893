package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
	"github.com/portcullis-dev/portcullis/test/apiserver"
	"github.com/portcullis-dev/portcullis/test/serverprocess"
	"github.com/portcullis-dev/portcullis/test/standalone"
)

// level is a number of Quarantines; policy says whether the policy is there at all.
type level struct {
	name        string
	policy      bool
	quarantines int
	p50, p99    []time.Duration
	// processor is what the API server takes of the processors for one exec, which other work on the machine does
	// not change.
	processor []time.Duration
}

// printExecs prints what an exec costs somebody who is admitted. The levels are visited up, down and up again: what changes with
// time hits all alike.
func printExecs(t standalone.TB, out io.Writer, o options) {
	t.Helper()
	b := newExecBench(t, o.mirrors)
	levels := []*level{
		{name: "no policy"}, {policy: true}, {policy: true, quarantines: 1}, {policy: true, quarantines: 100}, {policy: true, quarantines: o.quarantines},
	}
	for _, l := range levels[1:] {
		l.name = fmt.Sprint(l.quarantines)
	}
	for round := range 3 {
		for i := range levels {
			if round == 1 {
				i = len(levels) - 1 - i
			}
			b.to(t, levels[i])
			b.measure(t, levels[i], o.execs)
		}
	}
	policies := map[bool]string{true: "of Quarantines and of mirrors", false: "of Quarantines alone"}[o.mirrors]
	fmt.Fprintf(out, "An exec through the API server with the policy %s, in µs: medians of three rounds of %d\n\n", policies, o.execs)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "Quarantines\tp50\tp99\tratio of p50\tof a processor\tratio\tmore, each\t")
	base := levels[0]
	for _, l := range levels {
		p50, processor := quantile(l.p50, 50), quantile(l.processor, 50)
		each := "" // Quarantine
		if l.quarantines > 1 {
			each = fmt.Sprintf("%.1f", float64(processor-quantile(base.processor, 50))/1e3/float64(l.quarantines))
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%.2f\t%s\t%.2f\t%s\t\n", l.name, micros(p50), micros(quantile(l.p99, 50)), float64(p50)/float64(quantile(base.p50, 50)),
			micros(processor), float64(processor)/float64(quantile(base.processor, 50)), each)
	}
	_ = table.Flush()
	fmt.Fprintln(out)
}

// execBench is an API server with the policy and without Portcullis.
type execBench struct {
	objects client.Client
	// mirrors: the policy of mirrors is there, and so are those.
	mirrors bool
	policy  []client.Object
	person  *caller
	// installed and filled are what is there.
	installed bool
	filled    int
	marks     int
}

func newExecBench(t standalone.TB, mirrors bool) *execBench {
	t.Helper()
	server := apiserver.Start(t, apiserver.Options{})
	b := &execBench{objects: typed(t, server), mirrors: mirrors}
	for _, obj := range serverprocess.Render(t, fmt.Sprintf("gate: {policy: {mirror: %t}}", mirrors)) {
		if strings.HasPrefix(obj.GetObjectKind().GroupVersionKind().Kind, "ValidatingAdmissionPolicy") {
			b.policy = append(b.policy, obj)
		}
	}
	if len(b.policy) == 0 {
		t.Fatal("the chart has no policy")
	}
	permit(t, b.objects)
	namespace(t, b.objects, "shop")
	namespace(t, b.objects, serverprocess.Namespace)
	create(t, b.objects, unscheduled("shop", "cart-0"))
	create(t, b.objects, unscheduled("shop", "marked"))
	groups := strings.Fields(people + strings.Repeat(" team", 20))
	b.person = newCaller(t, server.UserConfig(t, person, groups...))
	return b
}

// to brings the API server to the level, and waits until it knows.
func (b *execBench) to(t standalone.TB, l *level) {
	t.Helper()
	if b.filled > l.quarantines {
		if err := b.objects.DeleteAllOf(t.Context(), &v1alpha1.Quarantine{}); err != nil {
			t.Fatal(err)
		}
		if err := b.objects.DeleteAllOf(t.Context(), &corev1.LimitRange{}, client.InNamespace(serverprocess.Namespace)); err != nil {
			t.Fatal(err)
		}
		b.filled = 0
	}
	fill(t, b.objects, b.filled, l.quarantines, b.mirrors)
	b.filled = l.quarantines
	if b.installed != l.policy {
		b.install(t, l.policy)
	}
	b.settle(t)
}

func (b *execBench) install(t standalone.TB, there bool) {
	t.Helper()
	for _, obj := range b.policy {
		obj, ok := obj.DeepCopyObject().(*unstructured.Unstructured)
		if !ok {
			t.Fatal("a rendered object is not unstructured")
		}
		if there {
			create(t, b.objects, obj)
		} else if err := b.objects.Delete(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
	b.installed = there
}

// settle waits until the API server has come to the last change: it hears of Quarantines in their order, and of mirrors in theirs.
func (b *execBench) settle(t standalone.TB) {
	t.Helper()
	b.marks++
	mark := quarantineOf(v1alpha1.Subject{Kind: v1alpha1.SubjectPod, UID: "marked", Namespace: "shop", Name: "marked"}, fmt.Sprintf("mark-%d", b.marks))
	b.pass(t, mark)
	if b.mirrors {
		b.pass(t, mirrorOf(mark))
	}
}

// pass creates the mark, deletes it again, and waits both times until the API server knows.
func (b *execBench) pass(t standalone.TB, mark client.Object) {
	t.Helper()
	create(t, b.objects, mark)
	b.awaitMarked(t, b.installed)
	if err := b.objects.Delete(t.Context(), mark); err != nil {
		t.Fatal(err)
	}
	b.awaitMarked(t, false)
}

func (b *execBench) awaitMarked(t standalone.TB, denied bool) {
	t.Helper()
	eventually(t, "the policy is as it should be", func(ctx context.Context) error {
		admitted, _, err := b.person.exec(ctx, "shop", "marked")
		if err == nil && admitted == denied {
			err = errors.New("it is not")
		}
		return err
	})
}

func (b *execBench) measure(t standalone.TB, l *level, execs int) {
	t.Helper()
	took := make([]time.Duration, execs)
	before := b.used(t)
	for i := range took {
		begin := time.Now()
		admitted, message, err := b.person.exec(t.Context(), "shop", "cart-0")
		took[i] = time.Since(begin)
		if err != nil || !admitted {
			t.Fatalf("%v, refused: %s", err, message)
		}
	}
	l.processor = append(l.processor, (b.used(t)-before)/time.Duration(execs))
	l.p50, l.p99 = append(l.p50, quantile(took, 50)), append(l.p99, quantile(took, 99))
}

// used is the time of a processor that the API server has taken so far.
func (b *execBench) used(t standalone.TB) time.Duration {
	t.Helper()
	_, metrics, err := b.person.get(t.Context(), "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(metrics, []byte("\nprocess_cpu_seconds_total "))
	text, _, _ := bytes.Cut(rest, []byte("\n"))
	seconds, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		t.Fatalf("the API server's metrics have no process_cpu_seconds_total: %v", err)
	}
	return time.Duration(seconds * float64(time.Second))
}
