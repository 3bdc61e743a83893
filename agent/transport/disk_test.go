package transport

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/portcullis-dev/portcullis/agent/collectortest"
	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
)

// diskOptions are of a spool that keeps no more than some 80 events in memory.
func diskOptions(dir string) SpoolOptions {
	return SpoolOptions{
		MaxBytes: 80 * cost(event(1)), BatchEvents: 7, SessionID: "s", Directory: dir, Logger: slog.New(slog.DiscardHandler),
	}
}

// takeAll empties a spool as a client does with a server that takes everything.
func takeAll(t testing.TB, s *Spool) (got []uint32) {
	t.Helper()
	for b := s.take(); b != nil; b = s.take() {
		got = append(got, pids(b)...)
		if err := s.acknowledge(b.GetSequence()); err != nil {
			t.Fatal(err)
		}
	}
	return got
}

func push(s *Spool, from, to uint32) {
	for pid := from; pid <= to; pid++ {
		s.Push(event(pid))
	}
}

// upTo are the numbers from 1 on.
func upTo(n uint32) []uint32 {
	all := make([]uint32, 0, n)
	for pid := range n {
		all = append(all, pid+1)
	}
	return all
}

// settle writes what would be written, at once.
func settle(s *Spool) {
	for s.writeTail(s.chunk()) {
	}
}

func TestWhatMemoryHasNoRoomForComesBackInOrder(t *testing.T) {
	dir := t.TempDir()
	s := newSpool(t, diskOptions(dir))
	const n = 1000
	for from := uint32(1); from <= n; from += 5 {
		push(s, from, from+4)
		settle(s)
	}
	stats := s.Stats()
	if stats.Files == 0 || stats.FileEvents+stats.Pending != n || stats.Bytes > s.opts.MaxBytes || stats.Dropped != 0 {
		t.Errorf("the spool holds %+v", stats)
	}
	if got := takeAll(t, s); !slices.Equal(got, upTo(n)) {
		t.Errorf("of 1 to %d came %v", n, got)
	}
	push(s, n+1, n+1)
	if got := takeAll(t, s); !slices.Equal(got, []uint32{n + 1}) {
		t.Errorf("afterwards came %v", got)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("%d files are left, %v", len(left), err)
	}
	if stats := s.Stats(); stats.Bytes != 0 || stats.Files != 0 {
		t.Errorf("the empty spool holds %+v", stats)
	}
}

func TestFilesAreBounded(t *testing.T) {
	dir := t.TempDir()
	opts := diskOptions(dir)
	opts.DirectoryBytes = 300
	s := newSpool(t, opts)
	const n = 2000
	for pid := range uint32(n) {
		s.Push(event(pid + 1))
		settle(s)
	}
	var size int64
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if size > 300 || size == 0 {
		t.Errorf("the files have %d bytes", size)
	}
	dropped := int(s.Stats().Dropped)
	got := takeAll(t, s)
	if !slices.IsSorted(got) || len(got)+dropped != n || got[len(got)-1] != n {
		t.Errorf("%d were dropped, and there came %v", dropped, got)
	}
}

func TestTheNextAgentSendsWhatWasLeft(t *testing.T) {
	dir := t.TempDir()
	s := newSpool(t, diskOptions(dir))
	stop := s.startDisk(t.Context())
	push(s, 1, 30)
	s.take() // sent, and not acknowledged
	settle(s)
	push(s, 31, 60)
	if !stop() {
		t.Error("something was lost")
	}
	for range 2 { // a second one that could not send either
		next := newSpool(t, diskOptions(dir))
		if !next.startDisk(t.Context())() {
			t.Error("something was lost")
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "note.txt"), []byte("not ours"), 0o600); err != nil {
		t.Fatal(err)
	}
	last := newSpool(t, diskOptions(dir))
	push(last, 61, 61)
	if got := takeAll(t, last); !slices.Equal(got, upTo(61)) {
		t.Errorf("of 1 to 61 came %v", got)
	}
}

// TestWhatWasSentKeepsItsFirstName: however many processes send it, none of which hears that it has arrived.
func TestWhatWasSentKeepsItsFirstName(t *testing.T) {
	dir := t.TempDir()
	opts := diskOptions(dir)
	s := newSpool(t, opts)
	push(s, 1, 9)
	if err := s.acknowledge(s.take().GetSequence()); err != nil { // 1 to 7
		t.Fatal(err)
	}
	s.take() // 8 and 9
	push(s, 10, 10)
	s.startDisk(t.Context())()
	for _, session := range []string{"second", "third"} {
		opts.SessionID = session
		next := newSpool(t, opts)
		b := next.take()
		want := map[uint32]*telemetryv1.Sent{8: {SessionId: "s", Sequence: 8}, 9: {SessionId: "s", Sequence: 9}, 10: nil}
		if session == "third" {
			want[10] = &telemetryv1.Sent{SessionId: "second", Sequence: 3}
		}
		got := map[uint32]*telemetryv1.Sent{}
		for i, e := range b.GetEvents() {
			got[e.GetProcess().GetPid()] = e.GetFirst()
			if e.GetSequence() != uint64(i+1) {
				t.Errorf("event %d of the %s process has the number %d", i+1, session, e.GetSequence())
			}
		}
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Errorf("the first names in the %s process (-want +got):\n%s", session, diff)
		}
		next.startDisk(t.Context())()
	}
}

func TestFilesThatAreDamaged(t *testing.T) {
	dir := t.TempDir()
	s := newSpool(t, diskOptions(dir))
	push(s, 1, 30)
	s.startDisk(t.Context())()
	files, err := filepath.Glob(filepath.Join(dir, "*.events"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files: %v, %v", files, err)
	}
	content, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)-1] ^= 1
	if err := os.WriteFile(files[0], content, 0o600); err != nil {
		t.Fatal(err)
	}
	next := newSpool(t, diskOptions(dir))
	push(next, 31, 31)
	if got := takeAll(t, next); !slices.Equal(got, []uint32{31}) || next.Stats().Dropped != 30 {
		t.Errorf("%d are said to be lost, and there came %v", next.Stats().Dropped, got)
	}
}

func TestADirectoryThatIsGone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s := newSpool(t, diskOptions(dir))
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	const n = 500
	for pid := range uint32(n) {
		s.Push(event(pid + 1))
		settle(s)
	}
	if stats := s.Stats(); stats.Dropped == 0 || stats.Bytes > s.opts.MaxBytes || int(stats.Dropped)+stats.Pending != n {
		t.Errorf("the spool holds %+v", stats)
	}
	if _, err := NewSpool(diskOptions(dir)); err == nil {
		t.Error("a directory that is not there was accepted")
	}
}

func TestClientKeepsWhatItCannotSend(t *testing.T) {
	dir := t.TempDir()
	a := newAgent(t, "127.0.0.1:1", nil, func(_ *Options, s *SpoolOptions) { *s = diskOptions(dir) })
	push(a.spool, 1, 60)
	a.run()
	a.spool.Close()
	a.cancel()
	if err := a.wait(); err != nil {
		t.Errorf("the client ended with %v, although everything was kept", err)
	}
	if got := takeAll(t, newSpool(t, diskOptions(dir))); !slices.Equal(got, upTo(60)) {
		t.Errorf("of 1 to 60 were kept %v", got)
	}
}

func TestCommandsComeOnTheStream(t *testing.T) {
	ca := collectortest.NewAuthority(t)
	c := &collectortest.Collector{Token: "first"}
	addr, _ := c.Serve(t, ca.Certificate(t, serverName), "127.0.0.1:0")
	a := newAgent(t, addr, ca, func(o *Options, _ *SpoolOptions) {
		o.Command = func(context.Context, *telemetryv1.Command) *telemetryv1.CommandResult {
			return &telemetryv1.CommandResult{Outcome: telemetryv1.Outcome_OUTCOME_DONE, Ended: 3}
		}
	})
	a.run()
	c.Wait(t, "a stream", func() bool { return len(c.Hellos) == 1 })
	if r := c.Ask(t, &telemetryv1.Command{Id: "7"}); r.GetEnded() != 3 {
		t.Errorf("the answer is %v", r)
	}
	a.spool.Push(event(1))
	c.Wait(t, "telemetry beside it", func() bool { return len(c.Events) == 1 })
}

func TestCommandsHaveABound(t *testing.T) {
	block := make(chan struct{})
	c := newCommands(func(ctx context.Context, command *telemetryv1.Command) *telemetryv1.CommandResult {
		if command.GetId() == "slow" {
			<-block
		}
		if ctx.Err() != nil {
			return &telemetryv1.CommandResult{Outcome: telemetryv1.Outcome_OUTCOME_FAILED}
		}
		return &telemetryv1.CommandResult{Outcome: telemetryv1.Outcome_OUTCOME_DONE}
	})
	ctx, cancel := context.WithCancel(t.Context())
	for range maxCommands {
		c.start(ctx, &telemetryv1.Command{Id: "slow"})
	}
	c.start(ctx, &telemetryv1.Command{Id: "too many"})
	if r := (<-c.replies).GetResult(); r.GetId() != "too many" || r.GetOutcome() != telemetryv1.Outcome_OUTCOME_FAILED {
		t.Errorf("a command beyond those that may run was answered with %v", r)
	}
	cancel() // the stream ends; what was begun is done
	close(block)
	c.wait()
	for range maxCommands {
		if r := (<-c.replies).GetResult(); r.GetId() != "slow" || r.GetOutcome() != telemetryv1.Outcome_OUTCOME_DONE {
			t.Errorf("a slow command was answered with %v", r)
		}
	}
	c.start(t.Context(), &telemetryv1.Command{Id: "of the last stream"})
	c.wait()
	c.forget()
	if len(c.replies) != 0 {
		t.Error("an answer of the last stream is kept")
	}
}
