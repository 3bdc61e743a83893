package audited

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-dev/portcullis/app/ending"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/quarantine"
)

// gate takes down what it is told.
type gate struct{ refused []string }

func (g *gate) Refused(r quarantine.Request, by string) quarantine.Verdict {
	g.refused = append(g.refused, r.Namespace+"/"+r.Pod+" by "+by)
	return quarantine.Verdict{}
}

func (*gate) Stands(quarantine.Request) *quarantine.Entry { return nil }

// nobody takes what it is given.
type nobody struct{}

func (nobody) Ingest(context.Context, []*event.Event) error { return nil }
func (nobody) Released(string, string, time.Time)           {}
func (nobody) EndSession(ending.Order)                      {}

// TestARefusalIsToldOnce, whichever of the API server's two policies it is of, and if it is of both.
func TestARefusalIsToldOnce(t *testing.T) {
	const own, mirror = "portcullis-quarantine/", "portcullis-quarantine-mirror/"
	told := []string{"shop/web-0 by q-pod"}
	for name, c := range map[string]struct {
		annotations map[string]string
		code        int32
		want        []string
	}{
		"by the policy of Quarantines":    {map[string]string{own + "quarantine": "q-pod, q-user"}, 403, told},
		"by that of mirrors":              {map[string]string{mirror + "quarantine": "q-pod"}, 403, told},
		"by both":                         {map[string]string{own + "quarantine": "q-pod", mirror + "quarantine": "q-user, q-pod"}, 403, told},
		"let in with break-glass":         {map[string]string{own + "quarantine": "q-pod", own + "break-glass": "g", mirror + "quarantine": "q-pod", mirror + "break-glass": "g"}, 101, nil},
		"let in past the mirror":          {map[string]string{mirror + "quarantine": "q-pod", mirror + "break-glass": "g"}, 101, nil},
		"refused by something else later": {map[string]string{mirror + "quarantine": "q-pod", mirror + "break-glass": "g"}, 403, nil},
		"of another policy":               {map[string]string{"portcullis-quarantine-mirror2/quarantine": "q-pod"}, 403, nil},
	} {
		t.Run(name, func(t *testing.T) {
			g := &gate{}
			w := New(Options{Next: nobody{}, Gate: g, Releases: nobody{}, Killer: nobody{}, Self: func() string { return "self" }})
			for _, stage := range []string{"RequestReceived", stageComplete} {
				e := &event.Event{Audit: &event.Audit{
					Verb: "get", Stage: stage, Code: c.code, Annotations: c.annotations,
					RequestURI: "/api/v1/namespaces/shop/pods/web-0/exec?command=id",
					ObjectRef:  event.ObjectRef{Resource: "pods", Subresource: "exec", Namespace: "shop", Name: "web-0"},
				}}
				if err := w.Ingest(t.Context(), []*event.Event{e}); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(c.want, g.refused); diff != "" {
				t.Errorf("told (-want +got):\n%s", diff)
			}
		})
	}
}
