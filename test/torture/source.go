package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
	"github.com/portcullis-dev/portcullis/test/serverprocess"
)

// stagePause is from a request to its answer, sessionPause to the end of a long one.
const (
	stagePause   = 8 * time.Millisecond
	sessionPause = 900 * time.Millisecond
)

// told is a stage of a request on its way: the event, and what it tells.
type told struct {
	event   auditv1.Event
	arrival arrival
	at      time.Time
}

// disorder is how what arrives differs from what happened.
type disorder struct {
	mu sync.Mutex
	// events arrived, overtaken are those of them that happened before another one that had arrived already.
	events, overtaken int
	newest            time.Time
	// latest is the longest that one took.
	latest time.Duration
	// batches were sent, again are those that were sent again although they had been acknowledged, with so many events.
	batches, again, eventsAgain int
}

func (d *disorder) arrived(happened ...time.Time) {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, at := range happened {
		d.events++
		if at.Before(d.newest) {
			d.overtaken++
		} else {
			d.newest = at
		}
		d.latest = max(d.latest, now.Sub(at))
	}
}

// late says how late the API servers deliver.
type late struct {
	// most batches take up to usual, one in ten up to worst.
	usual, worst time.Duration
	// again is the share of batches that are sent again after they were acknowledged.
	again float64
}

func (l late) delay(r *rand.Rand) time.Duration {
	if r.IntN(10) == 0 {
		return rand.N(l.worst + 1) //nolint:gosec // a simulation
	}
	return time.Duration(r.Int64N(int64(l.usual) + 1))
}

// feed brings what happens to the server.
type feed struct {
	servers  []*recorder
	agents   map[string]*serverprocess.Agent
	late     late
	byName   *byName
	disorder *disorder
	// ctx ends what cannot be delivered.
	ctx context.Context
	// acts are those that are still to be told, pending the batches under way.
	acts, pending sync.WaitGroup

	mu  sync.Mutex
	err error
}

// recorder is one API server's audit backend: it gathers events into batches.
type recorder struct {
	*serverprocess.APIServer
	mu     sync.Mutex
	buffer []told
}

// fail notes the first error.
func (f *feed) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
}

func (f *feed) failed() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// at calls fn at that time.
func (f *feed) at(t time.Time, fn func()) {
	f.acts.Go(func() {
		select {
		case <-time.After(time.Until(t)):
			fn()
		case <-f.ctx.Done():
		}
	})
}

// tell has the sources report what a pod does, as it happens.
func (f *feed) tell(p *pod, acts []act) {
	for _, a := range acts {
		if a.kind == readToken || a.kind == ranClient {
			agent := f.agents[p.node]
			f.at(a.at, func() {
				agent.Spool.Push(telemetryOf(p, a, agent.Ahead))
				f.byName.take(arrival{a.kind, p.name, a.at, false, a.mark})
				f.disorder.arrived(a.at)
			})
			continue
		}
		by := f.servers[a.by]
		for _, t := range stages(p, a, by.Ahead()) {
			f.at(t.at, func() {
				by.mu.Lock()
				defer by.mu.Unlock()
				by.buffer = append(by.buffer, t)
			})
		}
	}
}

// record makes batches of what an API server has to tell, until ctx ends, and then one of the rest.
func (f *feed) record(ctx context.Context, by *recorder, r *rand.Rand) {
	for ctx.Err() == nil {
		select {
		case <-time.After(50*time.Millisecond + time.Duration(r.Int64N(int64(time.Second)))):
		case <-ctx.Done():
		}
		by.mu.Lock()
		batch := by.buffer
		by.buffer = nil
		by.mu.Unlock()
		for len(batch) > 0 {
			n := min(len(batch), 1+r.IntN(400))
			f.send(by, batch[:n], f.late.delay(r), r.Float64() < f.late.again, f.late.delay(r))
			batch = batch[n:]
		}
	}
}

// drift sets an API server's clock a little, now and then, until ctx ends: what it sends again afterwards bears times of
// the clock that it had before.
func (f *feed) drift(ctx context.Context, by *recorder, r *rand.Rand) {
	ahead := by.Ahead()
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(2*time.Second + time.Duration(r.Int64N(int64(3*time.Second)))):
		}
		by.SetAhead(ahead + time.Duration(r.Int64N(int64(2*steps))) - steps)
	}
}

// steps is how far a clock is set at most: little enough for every chain to stay one, by the right offset or the one before.
const steps = 20 * time.Millisecond

// send delivers a batch after a while, and perhaps once more.
func (f *feed) send(by *recorder, batch []told, after time.Duration, again bool, afterThat time.Duration) {
	list := auditv1.EventList{TypeMeta: metav1.TypeMeta{Kind: "EventList", APIVersion: "audit.k8s.io/v1"}}
	happened := make([]time.Time, 0, len(batch))
	for _, t := range batch {
		list.Items = append(list.Items, t.event)
		happened = append(happened, t.at)
	}
	body, err := json.Marshal(&list)
	if err != nil {
		f.fail(fmt.Errorf("encode a batch: %w", err))
		return
	}
	f.pending.Go(func() {
		f.wait(after)
		if err := by.Deliver(f.ctx, body); err != nil {
			f.fail(err)
			return
		}
		f.disorder.arrived(happened...)
		f.count(again, len(batch))
		f.takeByName(batch)
		if !again {
			return
		}
		f.wait(afterThat)
		if err := by.Deliver(f.ctx, body); err != nil {
			f.fail(err)
			return
		}
		f.takeByName(batch)
	})
}

// told waits until every act has been told to its source.
func (f *feed) told() { f.acts.Wait() }

func (f *feed) takeByName(batch []told) {
	for _, t := range batch {
		f.byName.take(t.arrival)
	}
}

func (f *feed) count(again bool, events int) {
	f.disorder.mu.Lock()
	defer f.disorder.mu.Unlock()
	f.disorder.batches++
	if again {
		f.disorder.again++
		f.disorder.eventsAgain += events
	}
}

func (f *feed) wait(d time.Duration) {
	select {
	case <-time.After(d):
	case <-f.ctx.Done():
	}
}

// telemetryOf is what an agent tells, whose clock is ahead by so much.
func telemetryOf(p *pod, a act, ahead time.Duration) *telemetryv1.Event {
	at := timestamppb.New(a.at.Add(ahead))
	out := &telemetryv1.Event{
		Time:      at,
		Container: &telemetryv1.Container{Id: p.container, PodUid: p.uid},
		Process: &telemetryv1.Process{
			Pid: 4711, Ppid: 4700, EntityId: a.mark, Start: at, Interactive: true, Tty: 34816,
			EntryLeader: &telemetryv1.EntryLeader{Pid: 4700, EntityId: "shell-" + p.uid, Interactive: true, MetaType: "container"},
		},
	}
	if a.kind == readToken {
		out.Process.Name, out.Process.Executable, out.Process.Args = "cat", "/usr/bin/cat", []string{"cat", tokenPath}
		out.What = &telemetryv1.Event_Open{Open: &telemetryv1.FileOpen{Path: tokenPath, ResolvedPath: tokenPath}}
		return out
	}
	out.Process.Name, out.Process.Executable = "curl", "/usr/bin/curl"
	out.Process.Args = []string{"curl", "-sk", "-H", "@/tmp/header", "https://10.96.0.1/api/v1/namespaces/" + p.namespace + "/secrets"}
	out.What = &telemetryv1.Event_Exec{Exec: &telemetryv1.ProcessExec{}}
	return out
}

const tokenPath = "/var/run/secrets/kubernetes.io/serviceaccount/token" //nolint:gosec // the path, not the token

// stages are what an API server tells of a request, whose clock is ahead by so much.
func stages(p *pod, a act, ahead time.Duration) []told {
	e := auditv1.Event{
		Level: auditv1.LevelMetadata, AuditID: types.UID(a.mark), Stage: auditv1.StageResponseComplete,
		SourceIPs: []string{"10.244.0.6"}, UserAgent: userAgent(a.mark),
		RequestReceivedTimestamp: metav1.NewMicroTime(a.at.Add(ahead)),
		Annotations:              map[string]string{"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""},
	}
	if a.auditID != "" {
		e.AuditID = types.UID(a.auditID)
	}
	if a.kind == exec {
		execOf(&e, p)
	} else {
		requestOf(&e, p, a)
	}
	out := []told{{e, arrival{a.kind, p.name, a.at, a.refused, a.mark}, a.at.Add(stagePause)}}
	if a.long {
		out = append(out, out[0])
		out[0].event.Stage = auditv1.StageResponseStarted
		out[1].at = a.at.Add(sessionPause)
	}
	for i := range out {
		out[i].event.StageTimestamp = metav1.NewMicroTime(out[i].at.Add(ahead))
	}
	return out
}

// requestOf is a request with the pod's token.
func requestOf(e *auditv1.Event, p *pod, a act) {
	e.Verb, e.RequestURI = "list", "/api/v1/namespaces/"+p.namespace+"/secrets"
	e.ObjectRef = &auditv1.ObjectReference{Resource: "secrets", Namespace: p.namespace, APIVersion: "v1"}
	e.ResponseStatus = &metav1.Status{Code: 200}
	if a.refused {
		e.ResponseStatus = &metav1.Status{Code: 403, Status: "Failure", Reason: metav1.StatusReasonForbidden}
		e.Annotations["authorization.k8s.io/decision"] = "forbid"
	}
	e.User = authenticationv1.UserInfo{
		Username: "system:serviceaccount:" + p.namespace + ":web", UID: "d56e776f-5115-4f73-bb12-7b0d9fd297d9",
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + p.namespace, "system:authenticated"},
		Extra: map[string]authenticationv1.ExtraValue{
			"authentication.kubernetes.io/credential-id": {"JTI=2a36e399-382d-4615-91bd-afc7daf7afc8"},
			"authentication.kubernetes.io/pod-name":      {p.name},
		},
	}
	if !a.nameless {
		e.User.Extra["authentication.kubernetes.io/pod-uid"] = authenticationv1.ExtraValue{p.uid}
		e.User.Extra["authentication.kubernetes.io/node-name"] = authenticationv1.ExtraValue{p.node}
	}
}

// execOf is somebody's exec into the pod, which the API server names by its name.
func execOf(e *auditv1.Event, p *pod) {
	e.Level, e.Verb = auditv1.LevelRequest, "get"
	e.RequestURI = "/api/v1/namespaces/" + p.namespace + "/pods/" + p.name + "/exec?" +
		url.Values{"command": {"id"}, "container": {"main"}, "stdout": {"true"}}.Encode()
	e.User = authenticationv1.UserInfo{Username: "alice", Groups: []string{"devs", "system:authenticated"}}
	e.ObjectRef = &auditv1.ObjectReference{Resource: "pods", Namespace: p.namespace, Name: p.name, APIVersion: "v1", Subresource: "exec"}
	e.ResponseStatus = &metav1.Status{Code: 101}
}

const agentPrefix = "curl/8.14.1 "

func userAgent(mark string) string { return agentPrefix + mark }
