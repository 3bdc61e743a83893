package identity

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	// maxCommands and maxCommandBytes bound what is kept of the commands of one pod.
	maxCommands     = 64
	maxCommandBytes = 64 << 10
	// The kubelet's defaults.
	defaultProbePeriod = 10 * time.Second
)

// ownCommand is a command that the kubelet itself runs in a container.
type ownCommand struct {
	container string
	// argv is nil where it is too long to be kept.
	argv []string
	// period is that of a probe, 0 for a hook.
	period time.Duration
}

// ownCommands are the exec probes and the hooks of a pod's containers.
func ownCommands(spec *corev1.PodSpec) []ownCommand {
	var out []ownCommand
	room := maxCommandBytes
	add := func(container string, exec *corev1.ExecAction, period time.Duration) {
		if exec == nil || len(out) == maxCommands {
			return
		}
		c := ownCommand{container: container, period: period}
		size := 0
		for _, arg := range exec.Command {
			size += len(arg) + 16
		}
		if size <= room {
			room -= size
			c.argv = slices.Clone(exec.Command)
		}
		out = append(out, c)
	}
	for _, containers := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range containers {
			c := &containers[i]
			for _, p := range []*corev1.Probe{c.StartupProbe, c.ReadinessProbe, c.LivenessProbe} {
				if p != nil {
					add(c.Name, p.Exec, periodOf(p))
				}
			}
			if c.Lifecycle == nil {
				continue
			}
			for _, h := range []*corev1.LifecycleHandler{c.Lifecycle.PostStart, c.Lifecycle.PreStop} {
				if h != nil {
					add(c.Name, h.Exec, 0)
				}
			}
		}
	}
	return out
}

func periodOf(p *corev1.Probe) time.Duration {
	if p.PeriodSeconds <= 0 {
		return defaultProbePeriod
	}
	return time.Duration(p.PeriodSeconds) * time.Second
}

// soleContainer is the container that a request means which names none: API servers refuse such a request
// where a pod has several.
func soleContainer(spec *corev1.PodSpec) string {
	if len(spec.Containers) != 1 {
		return ""
	}
	return spec.Containers[0].Name
}

// trimProbe keeps what ownCommands reads.
func trimProbe(p *corev1.Probe) *corev1.Probe {
	if p == nil || p.Exec == nil {
		return nil
	}
	return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: p.Exec}, PeriodSeconds: p.PeriodSeconds}
}

// trimLifecycle keeps what ownCommands reads.
func trimLifecycle(l *corev1.Lifecycle) *corev1.Lifecycle {
	if l == nil {
		return nil
	}
	out := &corev1.Lifecycle{}
	if l.PostStart != nil && l.PostStart.Exec != nil {
		out.PostStart = &corev1.LifecycleHandler{Exec: l.PostStart.Exec}
	}
	if l.PreStop != nil && l.PreStop.Exec != nil {
		out.PreStop = &corev1.LifecycleHandler{Exec: l.PreStop.Exec}
	}
	return out
}

// DefaultContainer is the container that a request into the pod means which names none. It is not known where the
// pod is not, or has several: API servers refuse such a request then.
func (r *Resolver) DefaultContainer(podUID string) (name string, known bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	rec, ok := r.history.pods[podUID]
	if !ok {
		return "", false
	}
	return rec.sole, rec.sole != ""
}

// KubeletCommands calls visit with each command that the kubelet itself runs in a container of a pod: that of each exec
// probe, with its period, and that of each lifecycle hook, with 0. An empty container stands for all of them. A command that is too long to be kept is nil.
// The commands are shared: they must not be changed. Of a pod that is not known there are none. The function
// must not use the Resolver.
func (r *Resolver) KubeletCommands(podUID, container string, visit func(command []string, period time.Duration)) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	rec, ok := r.history.pods[podUID]
	if !ok {
		return
	}
	for _, c := range rec.commands {
		if container == "" || c.container == container {
			visit(c.argv, c.period)
		}
	}
}
