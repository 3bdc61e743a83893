package admission

import (
	"context"
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-dev/portcullis/barrier"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/webhook"
)

// waits is a Barrier that keeps what was waited for. Each wait is followed by what comes next in then.
type waits struct {
	places [][]barrier.Place
	then   []func()
}

func (w *waits) Wait(_ context.Context, places ...barrier.Place) error {
	w.places = append(w.places, places)
	if len(w.then) > 0 {
		w.then[0]()
		w.then = w.then[1:]
	}
	return nil
}

// watched are pods by namespace/name, and by UID.
type watched map[string]event.Pod

func (w watched) Current(namespace, name string) (event.Pod, bool) {
	pod, known := w[namespace+"/"+name]
	pod.Confidence = event.ByName
	return pod, known
}

func (w watched) Pod(uid string) (event.Pod, bool) {
	pod, known := w[uid]
	return pod, known
}

func TestWhereIsWaited(t *testing.T) {
	t.Parallel()
	pods := watched{
		"shop/web-0": {Namespace: "shop", Name: "web-0", UID: "web", Node: "n1"},
		"caller":     {UID: "caller", Node: "n2"},
	}
	web := barrier.Place{Node: "n1", Pod: "web", Namespace: "shop", Name: "web-0"}
	for name, row := range map[string]struct {
		request webhook.Request
		want    []barrier.Place
	}{
		"a person": {webhook.Request{Namespace: "shop", Pod: "web-0"}, []barrier.Place{web}},
		"a pod":    {webhook.Request{Namespace: "shop", Pod: "web-0", CallerPod: "caller"}, []barrier.Place{web, {Node: "n2", Pod: "caller"}}},
		"a pod that the watch has not told of": {
			webhook.Request{Namespace: "shop", Pod: "web-0", CallerPod: "young", Extra: map[string][]string{event.ExtraNodeName: {"n3"}, event.ExtraPodUID: {"young"}}},
			[]barrier.Place{web, {Node: "n3", Pod: "young"}},
		},
		"into a pod that the watch has not told of": {
			webhook.Request{Namespace: "shop", Pod: "young"}, []barrier.Place{{Namespace: "shop", Name: "young"}},
		},
		"an ephemeral container of such a pod": {
			webhook.Request{Namespace: "shop", Pod: "young", PodUID: "y"}, []barrier.Place{{Namespace: "shop", Name: "young"}},
		},
		"a node": {webhook.Request{Node: "n4"}, []barrier.Place{{Node: "n4"}}},
	} {
		asked := &waits{}
		j := &Judge{Options: Options{Barrier: asked, Waits: func() bool { return true }, Pods: pods, Logger: slog.New(slog.DiscardHandler)}}
		if _, err := j.wait(t.Context(), &row.request); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([][]barrier.Place{row.want}, asked.places); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestAPodThatTookOverANameIsWaitedForAsWell(t *testing.T) {
	t.Parallel()
	pods := watched{"shop/web-0": {UID: "first", Node: "n1"}}
	asked := &waits{then: []func(){func() { pods["shop/web-0"] = event.Pod{UID: "second", Node: "n2"} }}}
	j := &Judge{Options: Options{Barrier: asked, Waits: func() bool { return true }, Pods: pods, Logger: slog.New(slog.DiscardHandler)}}
	pod, err := j.wait(t.Context(), &webhook.Request{Namespace: "shop", Pod: "web-0"})
	if err != nil || pod.UID != "second" {
		t.Errorf("the request reaches into %v, error %v", pod, err)
	}
	want := [][]barrier.Place{
		{{Node: "n1", Pod: "first", Namespace: "shop", Name: "web-0"}}, {{Node: "n2", Pod: "second", Namespace: "shop", Name: "web-0"}},
	}
	if diff := cmp.Diff(want, asked.places); diff != "" {
		t.Errorf("waited (-want +got):\n%s", diff)
	}
}

func TestNobodyWaitsForNothing(t *testing.T) {
	t.Parallel()
	asked := &waits{}
	j := &Judge{Options: Options{Barrier: asked, Waits: func() bool { return false }, Pods: watched{}}}
	if _, err := j.wait(t.Context(), &webhook.Request{Namespace: "shop", Pod: "web-0"}); err != nil || len(asked.places) != 0 {
		t.Errorf("error %v, waited for %v", err, asked.places)
	}
}
