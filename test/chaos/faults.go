package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/portcullis-dev/portcullis/test/clockshift"
)

// fault is a kind of what goes wrong.
type fault string

// The faults.
const (
	killAtRandom    fault = "killed at a random instant"
	killAtStart     fault = "killed while it starts"
	killAtDelivery  fault = "killed between a delivery and its answer"
	killAtPoint     fault = "killed at a chosen point"
	killAtRelease   fault = "killed just after a release"
	releasedDown    fault = "released while the server is down"
	stopped         fault = "stopped gracefully"
	killAtStop      fault = "killed while it stops"
	longAway        fault = "away for longer than events may be late"
	agentCut        fault = "agent's connection cut"
	diskFull        fault = "disk full"
	diskFullAtStart fault = "disk full, and the server killed"
	diskSlow        fault = "disk slow"
	diskHangs       fault = "disk hangs"
	blockDamaged    fault = "bit flipped in the store's messages"
	streamDamaged   fault = "description of a stream damaged"
	recordsDamaged  fault = "bit flipped in the store's records"
	historyDamaged  fault = "bit flipped in the pods' history"
	clockJumps      fault = "clock jumps before a start, and back"
	clockSet        fault = "clock set while the server runs, and back"
	peerClockJumps  fault = "API server's clock jumps"
	apiServerDown   fault = "kube-apiserver killed and started"
)

// faults say how each is injected. The server runs and is ready before and after.
func (s *suite) faults() map[fault]func(context.Context) error {
	return map[fault]func(context.Context) error{
		killAtRandom: s.killAtRandom, killAtStart: s.killAtStart, killAtDelivery: s.killAtDelivery, killAtPoint: s.killAtPoint,
		killAtRelease: s.killAfterRelease, releasedDown: s.releaseWhileDown, stopped: s.stop, killAtStop: s.killAtStop, longAway: s.stayAway,
		diskFull: s.fillDisk, diskFullAtStart: s.fillDiskAndKill, diskSlow: s.slowDisk, diskHangs: s.hangDisk,
		blockDamaged: s.damageBlock, streamDamaged: s.damageDescription, recordsDamaged: s.damageRecords, historyDamaged: s.damageHistory,
		clockJumps: s.jump, clockSet: s.setClock, peerClockJumps: s.jumpOfAPIServer, apiServerDown: s.restartAPIServer,
	}
}

// wait waits for a random time of at most so long.
func (s *suite) wait(ctx context.Context, most time.Duration) {
	select {
	case <-time.After(time.Duration(s.random.Int64N(int64(most)))):
	case <-ctx.Done():
	}
}

func (s *suite) killAtRandom(ctx context.Context) error {
	s.wait(ctx, 1200*time.Millisecond)
	s.server.kill()
	return s.server.restart(ctx)
}

// killAtStart kills it at random instants of its start, which is mostly replay.
func (s *suite) killAtStart(ctx context.Context) error {
	s.server.kill()
	for range 1 + s.random.IntN(2) {
		s.server.start() //nolint:contextcheck // the process ends with the suite, not with a context
		s.wait(ctx, 700*time.Millisecond)
		s.server.kill()
	}
	return s.server.restart(ctx)
}

// killAtDelivery kills it within some milliseconds after a delivery was written.
func (s *suite) killAtDelivery(ctx context.Context) error {
	process, after := s.server.process, time.Duration(s.random.Int64N(int64(4*time.Millisecond)))
	kill := func() {
		for until := time.Now().Add(after); time.Now().Before(until); {
		}
		process.Kill()
	}
	s.feed.onWrite.Store(&kill)
	if !s.server.awaitEnd(ctx, 5*time.Second) {
		s.feed.onWrite.Store(nil)
		s.server.kill()
	}
	return s.server.restart(ctx)
}

// killAtPoint kills it where it enters a function: each of points in turn.
func (s *suite) killAtPoint(ctx context.Context) error {
	if s.points == nil { // Not possible here, which the table says.
		return s.killAtRandom(ctx)
	}
	p := points()[s.nextKill%len(points())]
	s.nextKill++
	for range pointTries {
		hit, err := s.killAtThis(ctx, p)
		if err != nil {
			return err
		}
		if err := s.server.restart(ctx); hit || err != nil {
			return err
		}
	}
	return nil
}

// pointTries is how often a point is tried until the server gets there.
const pointTries = 3

// killAtThis kills it at one point, and reports whether it got there. If not, it is killed all the same.
func (s *suite) killAtThis(ctx context.Context, p point) (hit bool, err error) {
	s.wait(ctx, 500*time.Millisecond)
	if p.after != "" {
		if _, err = s.dieAt(ctx, p.after); err != nil {
			return false, err
		}
		s.server.start() //nolint:contextcheck // the process ends with the suite, not with a context
	}
	if hit, err = s.dieAt(ctx, p.function); hit {
		s.hits[p.when]++
	} else {
		s.misses[p.when]++
	}
	return hit, err
}

// dieAt has the process end as it enters a function, or after some seconds if it does not.
func (s *suite) dieAt(ctx context.Context, function string) (hit bool, err error) {
	disarm, err := s.points.Arm(s.server.process.PID(), function)
	if err != nil {
		return false, err
	}
	if s.server.awaitEnd(ctx, 8*time.Second) {
		return true, nil
	}
	err = disarm()
	s.server.kill()
	return false, err
}

// killAfterRelease deletes a quarantine and kills the server before it can have taken much notice.
func (s *suite) killAfterRelease(ctx context.Context) error {
	p, err := s.releases.next(ctx)
	if err == nil {
		err = s.releases.release(ctx, p)
	}
	if err != nil {
		return err
	}
	s.wait(ctx, 30*time.Millisecond)
	s.server.kill()
	return s.server.restart(ctx)
}

// releaseWhileDown deletes a quarantine while nobody watches.
func (s *suite) releaseWhileDown(ctx context.Context) error {
	p, err := s.releases.next(ctx)
	if err != nil {
		return err
	}
	s.server.kill()
	if err := s.releases.release(ctx, p); err != nil {
		return err
	}
	return s.server.restart(ctx)
}

func (s *suite) stop(ctx context.Context) error {
	s.wait(ctx, time.Second)
	if err := s.server.stop(); err != nil {
		return err
	}
	return s.server.restart(ctx)
}

// killAtStop kills it while it drains.
func (s *suite) killAtStop(ctx context.Context) error {
	s.wait(ctx, time.Second)
	if err := syscall.Kill(s.server.process.PID(), syscall.SIGTERM); err != nil {
		return fmt.Errorf("ask the server to stop: %w", err)
	}
	s.wait(ctx, time.Second)
	if s.server.ended() { // It was quick, and that was no kill.
		if err := s.server.stop(); err != nil {
			return err
		}
	}
	s.server.kill()
	return s.server.restart(ctx)
}

// fillDisk leaves no room on the disk for some seconds.
func (s *suite) fillDisk(ctx context.Context) error {
	if err := s.disk.Fill(); err != nil {
		return err
	}
	s.wait(ctx, 6*time.Second)
	if err := s.disk.Free(); err != nil {
		return err
	}
	return s.recover(ctx, diskFull)
}

// recover waits until the server is ready again, and notes how long that took.
func (s *suite) recover(ctx context.Context, from fault) error {
	began := time.Now()
	if err := s.server.awaitReady(ctx); err != nil {
		return err
	}
	s.waits = append(s.waits, outage{from, time.Since(began)})
	return nil
}

// fillDiskAndKill has it start where there is no room: it says so and ends, or waits.
func (s *suite) fillDiskAndKill(ctx context.Context) error {
	if err := s.disk.Fill(); err != nil {
		return err
	}
	s.wait(ctx, time.Second)
	s.server.kill()
	s.server.start() //nolint:contextcheck // the process ends with the suite, not with a context
	s.wait(ctx, 3*time.Second)
	if err := s.disk.Free(); err != nil {
		return err
	}
	if s.server.awaitEnd(ctx, time.Second) {
		return s.server.restart(ctx)
	}
	if err := s.recover(ctx, diskFullAtStart); !errors.Is(err, errEnded) {
		return err
	}
	return s.server.restart(ctx)
}

// slowDisk has every write wait, again and again.
func (s *suite) slowDisk(ctx context.Context) error {
	for range 10 {
		if err := s.disk.Hang(ctx, time.Duration(s.random.Int64N(int64(600*time.Millisecond)))); err != nil {
			return err
		}
		s.wait(ctx, 200*time.Millisecond)
	}
	return s.recover(ctx, diskSlow)
}

// hangDisk has every write wait for longer than the store has patience.
func (s *suite) hangDisk(ctx context.Context) error {
	if err := s.disk.Hang(ctx, 12*time.Second); err != nil {
		return err
	}
	return s.recover(ctx, diskHangs)
}

// jump starts the server with another clock, and then with the right one. Nothing goes on across a
// jump: what happens before it and what happens after it are joined by the time of each.
func (s *suite) jump(ctx context.Context) error {
	s.releases.happening.Lock()
	defer s.releases.happening.Unlock()
	before := s.feed.casting.Load()
	if err := s.startWithClock(ctx, s.ahead()); err != nil {
		return err
	}
	if err := s.live(ctx); err != nil {
		return err
	}
	s.server.kill() // The store has what happens at that time, and the next process has the same clock.
	if err := s.server.restart(ctx); err != nil {
		return err
	}
	s.wait(ctx, 2*time.Second)
	if err := s.startWithClock(ctx, 0); err != nil {
		return err
	}
	s.feed.casting.Store(before)
	s.feed.resume()
	return nil
}

// setClock sets the clock of the running server while everything goes on, and sets it right again. The server goes by the clock
// that it was started with.
func (s *suite) setClock(ctx context.Context) error {
	s.releases.happening.Lock()
	defer s.releases.happening.Unlock()
	ahead := s.ahead()
	const started = time.Second // Only a clock that is wrong can be set.
	if err := s.startWithClock(ctx, started); err != nil {
		return err
	}
	s.feed.resume()
	for _, now := range []time.Duration{ahead, started} {
		s.wait(ctx, 3*time.Second)
		if err := clockshift.Set(s.server.process.PID(), now); err != nil {
			return err
		}
		s.wait(ctx, 5*time.Second)
	}
	if err := s.startWithClock(ctx, 0); err != nil {
		return err
	}
	s.feed.resume()
	return nil
}

// ahead is how far a clock jumps.
func (s *suite) ahead() time.Duration {
	if s.random.IntN(2) == 0 {
		return -3 * time.Minute
	}
	return 3 * time.Minute
}

// live has things happen for some seconds, in pods that nothing happens in at other times. They are made now: by a clock that
// was set back, one that was made before is yet to come.
func (s *suite) live(ctx context.Context) error {
	if err := s.begin(ctx, map[plot]int{tokenUsed: 10, clientRun: 6, session: 4, shell: 4, harmless: 4}); err != nil {
		return err
	}
	select { // A request that names a pod by its name is not held until the news of the pod is there.
	case <-time.After(2 * time.Second):
	case <-ctx.Done():
	}
	s.feed.resume()
	s.wait(ctx, 8*time.Second)
	return nil
}

// startWithClock kills the server once everything has arrived and been concluded, and starts it with another clock.
func (s *suite) startWithClock(ctx context.Context, ahead time.Duration) error {
	if err := s.rest(ctx); err != nil {
		return err
	}
	s.server.kill()
	s.site.Ahead = ahead
	if err := s.server.restart(ctx); err != nil {
		return err
	}
	return s.awaitClocks(ctx, ahead)
}

// rest has nothing new happen, and waits until everything has arrived and is concluded.
func (s *suite) rest(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	if err := s.feed.quiesce(limited); err != nil {
		return err
	}
	return s.awaitMade(ctx, 20*time.Second)
}

// jumpOfAPIServer sets an API server's clock. It is known as soon as a canary has come back.
func (s *suite) jumpOfAPIServer(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	s.releases.happening.Lock()
	defer s.releases.happening.Unlock()
	if err := s.feed.quiesce(limited); err != nil {
		return err
	}
	by := s.feed.servers[s.random.IntN(len(s.feed.servers))]
	by.SetAhead(time.Duration(s.random.Int64N(int64(4*time.Minute))) - 2*time.Minute)
	if err := s.awaitClocks(ctx, 0); err != nil {
		return err
	}
	s.server.kill() // What was measured is stored already.
	if err := s.server.restart(ctx); err != nil {
		return err
	}
	s.feed.resume()
	return nil
}

// restartAPIServer kills the real kube-apiserver, and starts it again.
func (s *suite) restartAPIServer(ctx context.Context) error {
	s.site.API.Kill()
	s.wait(ctx, 3*time.Second)
	s.site.API.Restart(s.tb)
	if s.server.ended() {
		return fmt.Errorf("%w: %s", errEnded, s.server.process.Tail())
	}
	return s.recover(ctx, apiServerDown)
}
