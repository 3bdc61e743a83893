package identity

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

// ran is what KubeletCommands tells.
type ran struct {
	Command []string
	Period  time.Duration
}

func commandsOf(r *Resolver, uid, container string) (all []ran) {
	r.KubeletCommands(uid, container, func(command []string, period time.Duration) { all = append(all, ran{command, period}) })
	return all
}

func probe(period int32, command ...string) *corev1.Probe {
	return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: command}}, PeriodSeconds: period}
}

func TestKubeletCommandsAreThePodsOwn(t *testing.T) {
	t.Parallel()
	r, _ := newResolver(t, fixed(at(60)))
	p := pod("u1", "web-0", at(0), func(p *corev1.Pod) {
		p.Spec.InitContainers = []corev1.Container{{Name: "mesh", ReadinessProbe: probe(3, "ready")}}
		p.Spec.Containers = []corev1.Container{{
			Name: "main", LivenessProbe: probe(0, "sh", "-c", "true"), StartupProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{}}},
			Lifecycle: &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"drain"}}}},
		}, {Name: "long", LivenessProbe: probe(5, strings.Repeat("x", maxCommandBytes))}}
	})
	trimmed, err := trim(p)
	if err != nil {
		t.Fatal(err)
	}
	r.put(newRecord(trimmed.(*corev1.Pod)))
	for container, want := range map[string][]ran{
		"main":  {{[]string{"sh", "-c", "true"}, defaultProbePeriod}, {[]string{"drain"}, 0}},
		"mesh":  {{[]string{"ready"}, 3 * time.Second}},
		"long":  {{nil, 5 * time.Second}},
		"other": nil,
		"":      {{[]string{"ready"}, 3 * time.Second}, {[]string{"sh", "-c", "true"}, defaultProbePeriod}, {[]string{"drain"}, 0}, {nil, 5 * time.Second}},
	} {
		if diff := cmp.Diff(want, commandsOf(r, "u1", container)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", container, diff)
		}
	}
	if all := commandsOf(r, "nobody", "main"); all != nil {
		t.Errorf("a pod that is not known has %v", all)
	}
}

func TestCommandsOfOnePodAreBounded(t *testing.T) {
	t.Parallel()
	p := pod("u1", "web-0", at(0), func(p *corev1.Pod) {
		for range 3 * maxCommands {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "c", LivenessProbe: probe(1, strings.Repeat("y", 4<<10))})
		}
	})
	r := newRecord(p)
	if len(r.commands) != maxCommands || r.size() > 2*maxCommandBytes {
		t.Errorf("%d commands, %d bytes", len(r.commands), r.size())
	}
}

func TestDefaultContainerIsTheOnlyOne(t *testing.T) {
	t.Parallel()
	r, _ := newResolver(t, fixed(at(60)))
	one := func(p *corev1.Pod) { p.Spec.Containers = []corev1.Container{{Name: "main"}} }
	two := func(p *corev1.Pod) { p.Spec.Containers = []corev1.Container{{Name: "main"}, {Name: "mesh"}} }
	r.put(newRecord(pod("u1", "web-0", at(0), one)))
	r.put(newRecord(pod("u2", "web-1", at(0), two)))
	for uid, want := range map[string]string{"u1": "main", "u2": "", "nobody": ""} {
		if name, known := r.DefaultContainer(uid); name != want || known != (want != "") {
			t.Errorf("%s: %q, %v", uid, name, known)
		}
	}
}
