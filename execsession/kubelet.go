package execsession

import (
	"time"

	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/execsession/join"
)

// Bounds of what is kept to tell probes from what looks like them.
const (
	// maxStarts is how many starts of one probe are counted at a time.
	maxStarts = 8
	// slack is how many more starts than the periods explain are taken for the kubelet's: it probes out of
	// turn when a container has just started, and runs hooks once.
	slack = 3
	// maxCounted bounds the commands whose starts are counted.
	maxCounted = 20_000
)

// kubelet counts what looks like the kubelet's own probes.
type kubelet struct {
	// recent are the entry leaders of the latest, a ring: what they have started may outlive them.
	recent []string
	next   int
	starts map[string]*starts
}

// starts are how often a command has started since a moment.
type starts struct {
	since time.Time
	n     int
}

// isKubelets reports whether a root's command is one that the kubelet runs in that container itself. Where the container is
// not known, any of the pod's may be; a command that is not known may be any, and so may a root of which no arguments are known.
func (t *Tracker) isKubelets(e *event.Event, root *join.Root) bool {
	found := false
	t.opts.Pods.KubeletCommands(e.Pod.UID, root.Place.Container, func(command []string, _ time.Duration) {
		found = found || command == nil || root.Args == nil || join.SameCommand(root.Args, root.Truncated, command)
	})
	return found
}

// noteProbe takes a process that nobody has asked for, and that is what the kubelet runs: it is no session. If it
// comes more often than the kubelet runs it, somebody else runs it too, and one session tells of that.
func (t *Tracker) noteProbe(e *event.Event) {
	t.metrics.probes.Inc()
	id := e.Process.EntryLeader.EntityID
	if t.tooOften(e) {
		t.metrics.unaudited.Inc()
		r := t.newRun(e)
		r.verdict = join.Verdict{
			Root: id, Attribution: event.AttributionNone, Users: []string{event.CandidateProbe, event.CandidateUnaudited}, Unaudited: true, OneOf: true, Final: true,
			Why: "the command of a probe or a hook runs more often than the kubelet runs it",
		}
		r.reported, r.counted = true, true
		r.record = &record{id: runID(id), run: r}
		t.add(r.record)
		t.enter(r, e)
		t.report(r)
		return
	}
	t.index.Lock()
	defer t.index.Unlock()
	t.index.leaders[id] = &live{}
	k := &t.kubelet
	if len(k.recent) < maxProbes {
		k.recent = append(k.recent, id)
		return
	}
	delete(t.index.leaders, k.recent[k.next])
	k.recent[k.next] = id
	k.next = (k.next + 1) % maxProbes
}

// tooOften counts a start, and reports whether there have been more than the periods explain.
func (t *Tracker) tooOften(e *event.Event) bool {
	if e.Container == nil || e.Container.Name == "" {
		return false
	}
	d := make(event.Digest, 0, 256)
	d.Text(e.Container.ID)
	d.List(e.Process.Args)
	key := string(d)
	s := t.kubelet.starts[key]
	if s == nil || e.Time.Before(s.since) {
		if len(t.kubelet.starts) >= maxCounted {
			clear(t.kubelet.starts) // They are counted anew.
		}
		t.kubelet.starts[key] = &starts{since: e.Time, n: 1}
		return false
	}
	s.n++
	passed := e.Time.Sub(s.since)
	explained, known := 0.0, true
	t.opts.Pods.KubeletCommands(e.Pod.UID, e.Container.Name, func(command []string, period time.Duration) {
		switch {
		case command == nil:
			known = false
		case !join.SameCommand(e.Process.Args, e.Process.ArgsTruncated, command):
		case period == 0:
			explained++
		default:
			explained += 1 + passed.Seconds()/period.Seconds()
		}
	})
	tooMany := known && float64(s.n) > explained+slack
	if tooMany || s.n > maxStarts*8 {
		delete(t.kubelet.starts, key)
	}
	return tooMany
}

func (t *Tracker) isIndexed(id string) bool {
	t.index.RLock()
	defer t.index.RUnlock()
	return t.index.leaders[id] != nil
}
