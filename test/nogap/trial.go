package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"

	"github.com/portcullis-dev/portcullis/test/standalone"
)

// trial is one, and what became of it.
type trial struct {
	kind
	number int
	// last: what the node sees stays in its ring.
	last bool

	admitted bool
	// message is what the exec was answered.
	message string
	// The moments: the node has recorded, the pod asks, its answer is read to the end, the exec is sent, and answered.
	recorded, asked, answered, knocked, done time.Time
	// review is what the API server noted of the exec.
	review review
}

// mark is in the command of the trial's exec.
func (t *trial) mark() string { return fmt.Sprintf("trial-%d", t.number) }

// account is the pod's service account.
func (t *trial) account() string {
	if t.ownUser {
		return t.mark()
	}
	return account
}

// statusLag is how much later than its container's first process a pod's status is.
const statusLag = 100 * time.Millisecond

// lane does one trial after the other, on a node of its own.
type lane struct {
	cluster
	node *node
	// next and far are the pods that never do anything, on the lane's node and on another one.
	next, far *pod
	// inPod is in the pods. person asks for execs, and pods do by theirs.
	inPod, person, theirs *caller
}

func newLane(t standalone.TB, c cluster, number int, far *pod) *lane {
	t.Helper()
	l := &lane{cluster: c, node: newNode(t, c.site, fmt.Sprintf("node-%d", number)), far: far}
	var err error
	if l.next, err = c.make(t.Context(), l.node.name, "next-to-"+l.node.name, account, true); err != nil {
		t.Fatal(err)
	}
	nobody := rest.AnonymousClientConfig(c.site.API.Config)
	l.inPod, l.theirs = newCaller(t, nobody, false), newCaller(t, nobody, true)
	l.person = newCaller(t, c.site.API.UserConfig(t, person, people), true)
	return l
}

// made is a trial with its pod: none for a newborn, for a successor the one before it.
type made struct {
	*trial
	pod *pod
}

// run takes trials until there are none. Pods are made some time before they are tried, but for those that are new.
func (l *lane) run(ctx context.Context, work <-chan *trial, over func()) error {
	group, ctx := errgroup.WithContext(ctx)
	ready := make(chan made, 4)
	group.Go(func() error {
		defer close(ready)
		for t := range work {
			m, err := l.ready(ctx, t)
			if err != nil {
				return err
			}
			select {
			case ready <- m:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	group.Go(func() error {
		for m := range ready {
			if err := l.try(ctx, &m); err != nil {
				return fmt.Errorf("trial %d, %s: %w", m.number, m.name, err)
			}
			over()
		}
		return nil
	})
	return group.Wait()
}

// ready makes what there is before a trial.
func (l *lane) ready(ctx context.Context, t *trial) (made, error) {
	if t.ownUser {
		if err := l.account(ctx, t.account()); err != nil {
			return made{}, err
		}
	}
	if t.newborn && !t.successor {
		return made{trial: t}, nil
	}
	p, err := l.make(ctx, l.node.name, t.mark(), t.account(), !t.unnamed)
	return made{t, p}, err
}

// try does one, and clears up.
func (l *lane) try(ctx context.Context, t *made) error {
	for _, c := range []*caller{l.inPod, l.person, l.theirs} {
		if err := c.warm(ctx); err != nil {
			return err
		}
	}
	if err := l.bear(ctx, t); err != nil {
		return err
	}
	if err := l.act(ctx, t); err != nil {
		return err
	}
	if t.ownUser {
		if err := l.release(ctx, t.account()); err != nil {
			return err
		}
	}
	return l.remove(ctx, t.pod)
}

// bear makes the pod of a trial for which it must be new.
func (l *lane) bear(ctx context.Context, t *made) (err error) {
	if t.successor {
		if err = l.remove(ctx, t.pod); err != nil {
			return err
		}
	}
	if t.newborn {
		t.pod, err = l.make(ctx, l.node.name, t.mark(), t.account(), true)
	}
	return err
}

// act is the trial itself.
func (l *lane) act(ctx context.Context, t *made) (err error) {
	t.recorded = time.Now()
	if t.seen != nil {
		l.node.record(t.seen(t.pod), t.last)
	}
	t.asked = time.Now()
	code, body, err := l.inPod.get(ctx, t.asks, t.pod.token, nil)
	t.answered = time.Now()
	if err != nil || code != t.code {
		return fmt.Errorf("the pod's request: %w, %d %.300s", err, code, body)
	}
	var kubelet sync.WaitGroup
	var naming error
	if t.unnamed {
		kubelet.Go(func() {
			time.Sleep(statusLag)
			naming = l.name(ctx, t.pod)
		})
	}
	by, token := l.person, ""
	if t.by == thePod {
		by, token = l.theirs, t.pod.token
	}
	t.knocked = time.Now()
	t.admitted, t.message, err = by.exec(ctx, l.target(t).Name, token, t.mark())
	t.done = time.Now()
	kubelet.Wait()
	if err == nil {
		err = naming
	}
	if err == nil && !t.admitted && !strings.Contains(t.message, t.why()) {
		err = fmt.Errorf("refused for another reason than %s: %.500s", t.why(), t.message)
	}
	return err
}

// why is what a refusal must name: whose quarantine it is.
func (t *made) why() string {
	if t.ownUser {
		return t.account()
	}
	return string(t.pod.UID)
}

// target is the pod that the exec goes to.
func (l *lane) target(t *made) *pod {
	switch t.into {
	case nextToIt:
		return l.next
	case elsewhere:
		return l.far
	default:
		return t.pod
	}
}

// byPolicy reports whether the API server itself refused it, before it asked the webhook.
func (t *trial) byPolicy() bool { return strings.Contains(t.message, "ValidatingAdmissionPolicy") }
