package execsession

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/execsession/join"
)

// Enrich takes what an event tells of sessions, and sets its Session where it belongs to one. It is for every event, after its
// identity is complete and before it is held against rules. For an event that has nothing to do with a session it is a lookup.
func (t *Tracker) Enrich(e *event.Event) {
	switch {
	case e.Audit != nil:
		t.enrichRequest(e)
	case e.Process != nil && e.Dataset != event.DatasetSession:
		t.enrichTelemetry(e)
	}
}

func (t *Tracker) enrichTelemetry(e *event.Event) {
	leader := e.Process.EntryLeader
	if leader == nil || leader.EntityID == "" {
		return
	}
	t.index.RLock()
	known := t.index.leaders[leader.EntityID]
	t.index.RUnlock()
	switch {
	case known != nil && known.run == nil: // a probe's
		return
	case known != nil:
		t.follow(known.run, e)
	case e.Limit != nil, e.Process.Exit != nil: // What has ended before it was known is not told of any more.
	case leader.Began == event.BeganSession || leader.Began == event.BeganSessionOrProbe:
		t.begin(e)
	case leader.SameAsProcess: // It is the container's first process, or the agent does not know.
		t.beginContainer(e)
	}
	if e.Limit != nil {
		t.blur(e)
	}
	t.index.RLock()
	if known = t.index.leaders[leader.EntityID]; known != nil {
		e.Session = known.value.Load()
	}
	t.index.RUnlock()
}

// begin takes a process that came into a container, and is not known yet.
func (t *Tracker) begin(e *event.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	leader := e.Process.EntryLeader
	if t.runs[leader.EntityID] == nil && !t.isIndexed(leader.EntityID) {
		t.beginRun(e)
	}
}

// beginRun takes a process that came into a container after the first one.
func (t *Tracker) beginRun(e *event.Event) {
	leader := e.Process.EntryLeader
	root := t.rootOf(e)
	root.Probe = leader.Began != event.BeganSession && t.isKubelets(e, &root)
	explaining := t.engine.Explaining(root)
	if root.Probe && leader.SameAsProcess && len(explaining) == 0 {
		t.noteProbe(e)
		return
	}
	r := t.newRun(e)
	r.verdict = join.Verdict{Root: root.ID, Attribution: event.AttributionNone, Requests: explaining, Why: "it has begun just now"}
	if !t.engine.Root(root) {
		r.verdict.Why, r.verdict.Hole, r.verdict.Final = "too much happens in the pod at once to tell", true, true
	}
	if len(explaining) > 0 {
		r.verdict.Attribution = event.AttributionCandidates
		r.verdict.Users = t.usersOf(explaining)
	}
	if q := t.sole(explaining); q != nil && q.record.run == nil {
		r.record = q.record
		q.record.run = r
	} else {
		r.record = &record{id: runID(root.ID), run: r}
		t.add(r.record)
	}
	t.enter(r, e)
}

// rootOf is a root as the engine knows it.
func (t *Tracker) rootOf(e *event.Event) join.Root {
	p, leader := e.Process, e.Process.EntryLeader
	start := leader.Start
	if start.IsZero() && leader.SameAsProcess {
		start = p.Start
	}
	if start.IsZero() {
		start = e.Time
	}
	root := join.Root{
		ID: leader.EntityID, Place: placeOf(&e.Pod, ""), Start: join.Moment{At: start, Tolerance: toleranceOf(e)},
		Late: !leader.SameAsProcess || e.Kind != event.KindProcess || p.Exit != nil || e.Time.Sub(start) > lateSight,
	}
	if e.Container != nil {
		root.Place.Container = e.Container.Name
	}
	if leader.SameAsProcess {
		root.Args, root.Truncated, root.TTY = p.Args, p.ArgsTruncated, p.TTY != 0
	}
	return root
}

func toleranceOf(e *event.Event) time.Duration {
	if !e.Clock.Measured {
		return 0
	}
	return max(e.Clock.Tolerance, time.Millisecond)
}

// newRun makes a run of the first event that is seen of it.
func (t *Tracker) newRun(e *event.Event) *run {
	p, leader := e.Process, e.Process.EntryLeader
	r := &run{
		pod: e.Pod, first: e, places: map[string]int{}, tty: leader.SameAsProcess && p.TTY != 0 || leader.Interactive,
		root: Root{EntityID: leader.EntityID, PID: leader.PID, Start: leader.Start, Began: leader.Began},
	}
	if r.root.Start.IsZero() {
		r.root.Start = e.Time
	}
	if e.Container != nil {
		r.container = *e.Container
	}
	if leader.SameAsProcess {
		r.root.Args = t.opts.Redactor.Args(brief(p.Args))
	}
	return r
}

// enter makes a run one that events are looked up for, and takes its first event.
func (t *Tracker) enter(r *run, e *event.Event) {
	t.runs[r.root.EntityID] = r
	if t.running[r.pod.UID] == nil {
		t.running[r.pod.UID] = map[*run]struct{}{}
	}
	t.running[r.pod.UID][r] = struct{}{}
	l := &live{run: r}
	t.index.Lock()
	t.index.leaders[r.root.EntityID] = l
	t.index.pods[r.pod.UID]++
	t.index.Unlock()
	t.metrics.roots.Inc()
	r.story.timeline.add(Entry{Time: r.root.Start, Kind: KindStart, PID: r.root.PID, Text: line(r.root.Args), ID: r.root.EntityID})
	t.take(r, e)
	t.publish(r)
}

// follow takes a further event of a run.
func (t *Tracker) follow(r *run, e *event.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r.record == nil || r.record.at == nil {
		return
	}
	if r.record.past != nil {
		t.takePast(r, e)
		t.touch(r.record)
		return
	}
	if r.container.Name == "" && e.Container != nil && e.Container.Name != "" {
		r.container = *e.Container
		t.engine.Contained(r.root.EntityID, r.container.Name)
	}
	t.take(r, e)
	t.touch(r.record)
}

// take notes what an event of a run tells.
func (t *Tracker) take(r *run, e *event.Event) {
	if e.Time.After(r.lastSeen) {
		r.lastSeen = e.Time
	}
	switch {
	case e.Limit != nil:
	case e.File != nil:
		r.story.timeline.add(Entry{Time: e.Time, Kind: KindOpen, PID: e.Process.PID, Text: e.File.Path, ID: e.Process.EntityID})
	case e.Process.Exit != nil:
		t.takeExit(r, e)
	default:
		t.takeExec(r, e)
	}
}

func (t *Tracker) takeExec(r *run, e *event.Event) {
	args := t.args(r, e.Process)
	_, again := r.places[e.Process.EntityID]
	p := r.process(e.Process, args)
	if p != nil && again {
		if p.Name == e.Process.Name && slices.Equal(p.Args, args) {
			return // told twice
		}
		p.Name, p.Executable, p.Args = e.Process.Name, e.Process.Executable, args
	}
	if e.Process.EntityID != r.root.EntityID || again {
		r.story.timeline.add(Entry{Time: e.Time, Kind: KindExec, PID: e.Process.PID, Text: line(args), ID: e.Process.EntityID})
	}
}

// args is what is kept of a process' arguments.
func (t *Tracker) args(r *run, p *event.Process) []string {
	if r.story.timeline.dropped > maxDetailed {
		return []string{short(p.Name)}
	}
	return t.opts.Redactor.Args(brief(p.Args))
}

func (t *Tracker) takeExit(r *run, e *event.Event) {
	code := e.Process.Exit.Code
	if place, ok := r.places[e.Process.EntityID]; ok {
		if p := &r.processes[place]; p.End.IsZero() {
			p.End, p.ExitCode = e.Time, &code
			r.living--
		}
	}
	if e.Process.EntityID != r.root.EntityID {
		if code != 0 {
			r.story.timeline.add(Entry{Time: e.Time, Kind: KindExit, PID: e.Process.PID, Code: int32(code), Text: e.Process.Name, ID: e.Process.EntityID}) //nolint:gosec // an exit code is a byte
		}
		return
	}
	if !r.ended.IsZero() {
		return
	}
	r.ended, r.exit = e.Time, &Exit{Code: code, Signal: e.Process.Exit.Signal}
	t.engine.Exited(r.root.EntityID, join.Moment{At: e.Time, Tolerance: toleranceOf(e)}, r.living <= 0 && r.dropped == 0)
	r.story.timeline.add(Entry{Time: e.Time, Kind: KindEnd, PID: r.root.PID, Code: int32(code), Text: endText(r.exit)}) //nolint:gosec // an exit code is a byte
	t.halt(r)
}

func endText(e *Exit) string {
	if e.Signal != 0 {
		return fmt.Sprintf("ended by signal %d", e.Signal)
	}
	return fmt.Sprintf("ended with code %d", e.Code)
}

// halt notes that a run's first process does not live any more.
func (t *Tracker) halt(r *run) {
	if _, running := t.running[r.pod.UID][r]; !running {
		return
	}
	delete(t.running[r.pod.UID], r)
	if len(t.running[r.pod.UID]) == 0 {
		delete(t.running, r.pod.UID)
	}
	t.index.Lock()
	if t.index.pods[r.pod.UID]--; t.index.pods[r.pod.UID] <= 0 {
		delete(t.index.pods, r.pod.UID)
	}
	t.index.Unlock()
}

// blur notes that a container did more than is reported: a process may be missing.
func (t *Tracker) blur(e *event.Event) {
	if e.Limit.Budget != "entries" && e.Limit.Budget != "execs" && e.Limit.Budget != "other" {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.engine.Blur(placeOf(&e.Pod, ""), e.Time.Add(-time.Second), e.Time)
}

// enrichRequest takes an audit event: of a door, or made by a pod that sessions run in.
func (t *Tracker) enrichRequest(e *event.Event) {
	a := e.Audit
	if isDoor(a) {
		t.request(e)
	}
	if a.Caller.UID == "" || a.Stage != "ResponseComplete" && a.Stage != "ResponseStarted" {
		return
	}
	t.index.RLock()
	sessions := t.index.pods[a.Caller.UID]
	t.index.RUnlock()
	if sessions > 0 {
		t.apiCall(e)
	}
}

func isDoor(a *event.Audit) bool {
	switch a.ObjectRef.Subresource {
	case DoorExec, DoorAttach, DoorPortForward, DoorDebug:
		return a.ObjectRef.Resource == "pods"
	case DoorProxy:
		return a.ObjectRef.Resource == "nodes"
	default:
		return false
	}
}

// apiCall notes a request of the pod. Whether the session made it nobody knows.
func (t *Tracker) apiCall(e *event.Event) {
	a := e.Audit
	t.mu.Lock()
	defer t.mu.Unlock()
	runs := slices.SortedFunc(maps.Keys(t.running[a.Caller.UID]), func(x, y *run) int { return cmp.Compare(x.root.EntityID, y.root.EntityID) })
	entry := Entry{
		Time: e.Time, Kind: KindAPICall, Scope: ScopeOfPod, User: short(a.User.Username), Verb: short(a.Verb),
		URI: t.opts.Redactor.Text(cutText(a.RequestURI, maxArgBytes)), Code: a.Code, ID: short(a.AuditID),
	}
	for _, r := range runs {
		if e.Time.Before(r.root.Start.Add(-t.joinTolerance())) {
			continue
		}
		if i := lastOf(r.story.timeline.entries, &entry); i >= 0 {
			r.story.timeline.entries[i].Code = cmp.Or(a.Code, r.story.timeline.entries[i].Code)
			continue
		}
		r.story.timeline.add(entry)
		t.touch(r.record)
	}
}

func (t *Tracker) joinTolerance() time.Duration {
	return cmp.Or(t.opts.Join.Tolerance, join.DefaultTolerance)
}

// lastOf finds an earlier stage of the same request among the latest entries.
func lastOf(entries []Entry, e *Entry) int {
	const look = 64
	for i := len(entries) - 1; i >= max(0, len(entries)-look); i-- {
		if o := &entries[i]; o.Kind == e.Kind && o.ID == e.ID && o.Time.Equal(e.Time) && o.URI == e.URI {
			return i
		}
	}
	return -1
}

// request takes an audit event of a door.
func (t *Tracker) request(e *event.Event) {
	a := e.Audit
	what, ok := askedOf(a)
	if !ok || a.Stage == "RequestReceived" {
		return
	}
	who := join.Who{User: a.User.Username, UID: a.User.UID, Groups: own(a.User.Groups)}
	extra := a.User.Extra
	if u := a.ImpersonatedUser; u != nil {
		who = join.Who{User: u.Username, UID: u.UID, Groups: own(u.Groups), Impersonator: short(a.User.Username)}
		extra = u.Extra
	}
	who.User, who.UID = short(who.User), short(who.UID)
	t.mu.Lock()
	defer t.mu.Unlock()
	q := t.audited(e, what.door, who)
	if q == nil {
		return
	}
	if q.extra == nil {
		q.extra = extraOf(extra)
	}
	t.takeAudit(q, e, &what, who)
	e.Session = q.value
}

// audited is the request that an audit event is of. Its annotation names it; where there is none, or what it names is
// another user's, it is a request of its own.
func (t *Tracker) audited(e *event.Event, door string, who join.Who) *ask {
	id := t.annotated(e.Audit)
	if id != "" {
		if q := t.asks[id]; q != nil && (q.who.User != who.User || q.door != door) {
			t.metrics.contradictions.Inc()
			id = ""
		}
	}
	if id == "" {
		e.Identify()
		id = "s-" + e.Request[:min(len(e.Request), 16)]
	}
	if past := t.past(id); past != nil {
		t.finishPast(past, e)
		return nil
	}
	return t.askFor(strings.Clone(id), door, targetOf(e.Audit), who)
}

func (t *Tracker) annotated(a *event.Audit) string {
	for _, key := range t.opts.Annotations {
		if id := a.Annotations[key]; id != "" && len(id) <= 64 {
			return id
		}
	}
	return ""
}

// targetOf is the pod of a request, in texts that may be kept.
func targetOf(a *event.Audit) event.Pod {
	p := a.Target
	p.UID, p.Namespace, p.Name, p.Node = short(p.UID), short(p.Namespace), short(p.Name), short(p.Node)
	p.Candidates = own(p.Candidates)
	return p
}

func (t *Tracker) takeAudit(q *ask, e *event.Event, what *asked, who join.Who) {
	a := e.Audit
	first := !q.audited
	q.audited = true
	if first {
		// Admission has seen neither whom the user really is, nor where the request came from.
		q.who, q.sourceIPs, q.userAgent = who, own(a.SourceIPs), short(a.UserAgent)
		if q.pod.UID == "" {
			q.pod = targetOf(a)
		}
		if !q.reviewed {
			q.container, q.command, q.tty, q.stdin = t.containerOf(&q.pod, what.container), what.command, what.tty, what.stdin
			q.since = e.Time
		}
		if len(q.new) == 0 {
			q.new = what.new
		}
		q.story.timeline.add(Entry{
			Time: e.Time, Kind: KindRequest, User: cmp.Or(who.Impersonator, who.User), Verb: short(a.Verb), Code: a.Code, ID: short(a.AuditID),
			Text: q.door + " " + line(t.opts.Redactor.Args(brief(q.command))),
		})
	}
	q.code = cmp.Or(a.Code, q.code)
	clock := toleranceOf(e)
	refused := a.Code >= 300 || a.Stage == "Panic"
	q.denied = q.denied || a.Code == 403 && !q.reviewed
	q.failed = q.failed || refused && !q.denied
	since := join.Moment{At: e.Time, Tolerance: clock}
	if q.reviewed && q.since.After(e.Time) {
		since = join.Moment{At: q.since, Tolerance: time.Millisecond}
	}
	t.joinAsk(q, since)
	if !refused {
		t.takeStage(q, e, clock)
	} else if q.door == DoorExec {
		t.engine.Refused(q.id)
	}
	if q.door == DoorDebug {
		t.judgeDebug(q)
	}
	if r := q.record.run; r != nil {
		t.publish(r)
	}
	t.touch(q.record)
}

// takeStage takes the opening or the end of a request that was let through.
func (t *Tracker) takeStage(q *ask, e *event.Event, clock time.Duration) {
	at := join.Moment{At: e.StageTime, Tolerance: clock}
	if e.Audit.Stage == "ResponseStarted" {
		if q.opened.IsZero() {
			q.opened = e.StageTime
		}
		t.engine.Opened(q.id, at)
		return
	}
	if q.completed.IsZero() {
		q.completed = e.StageTime
		if q.opened.IsZero() {
			q.opened = e.Time
		}
		q.story.timeline.add(Entry{Time: e.StageTime, Kind: KindEnd, Text: "the connection was closed"})
	}
	t.engine.Completed(q.id, at)
}
