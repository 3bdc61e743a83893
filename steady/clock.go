package steady

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Far is how far the wall clock may be from a Clock that still follows it.
const Far = 5 * time.Second

const (
	// perSecond is how much a Clock is corrected while a second passes.
	perSecond = 100 * time.Microsecond
	// lookEvery is how often it is compared with the wall clock.
	lookEvery = time.Second
)

// Options are what a Clock is made from. Logger and Registerer are required.
type Options struct {
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	// Wall is the wall clock; time.Now if nil.
	Wall func() time.Time
	// Passed is the time that has passed since some moment, by a clock that nobody sets; the
	// kernel's if nil. It must not go back.
	Passed func() time.Duration
}

// Clock is a clock that nobody sets. Its methods may be called from any goroutine.
type Clock struct {
	opts Options

	mu sync.Mutex
	// at and shown are what Passed said, and what the Clock showed, when it was last compared
	// with the wall clock.
	at    time.Duration
	shown time.Time
	// slack is how far it was behind the wall clock then; zero if that is not followed.
	slack time.Duration
	// told is the difference that people have been told of, zero if there was none.
	told time.Duration
}

// New makes a Clock that shows the wall time.
func New(opts Options) (*Clock, error) {
	switch {
	case opts.Logger == nil:
		return nil, errors.New("steady: Options.Logger is nil")
	case opts.Registerer == nil:
		return nil, errors.New("steady: Options.Registerer is nil")
	}
	if opts.Wall == nil {
		opts.Wall = time.Now
	}
	if opts.Passed == nil {
		opts.Passed = sinceBoot()
	}
	c := &Clock{opts: opts, at: opts.Passed(), shown: opts.wall()}
	ahead := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "portcullis_clock_wall_ahead_seconds",
		Help: "How far the wall clock is ahead of the server's own. More than some seconds: it was set while the server ran.",
	}, func() float64 { return c.WallAhead().Seconds() })
	if err := opts.Registerer.Register(ahead); err != nil {
		return nil, fmt.Errorf("steady clock metric: %w", err)
	}
	return c, nil
}

// wall is the wall time alone: a monotonic reading would take precedence in comparisons.
func (o *Options) wall() time.Time { return o.Wall().Round(0) }

// Now is the time. It has no monotonic reading and needs none.
func (c *Clock) Now() time.Time {
	now, ahead, tell := c.read()
	switch {
	case !tell:
	case far(ahead):
		c.opts.Logger.Error("the wall clock was set while the server runs, which goes on by its own clock: "+
			"detections and quarantines bear the times of that until the server is started again",
			"wallAhead", ahead, "now", now, "wall", now.Add(ahead))
	default:
		c.opts.Logger.Info("the wall clock agrees with the server's own again", "wallAhead", ahead)
	}
	return now
}

// read reads the clock, and compares it with the wall clock if it is time to. It reports
// whether people should be told of what that found.
func (c *Clock) read() (now time.Time, ahead time.Duration, tell bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.opts.Passed()
	now = c.showAt(at)
	if at-c.at < lookEvery {
		return now, 0, false
	}
	ahead = c.opts.wall().Sub(now)
	c.at, c.shown, c.slack = at, now, ahead
	if far(ahead) {
		c.slack = 0
	}
	switch {
	case far(ahead) && far(ahead-c.told):
		c.told, tell = ahead, true
	case !far(ahead) && c.told != 0:
		c.told, tell = 0, true
	}
	return now, ahead, tell
}

// showAt is what the Clock shows when Passed says at.
func (c *Clock) showAt(at time.Duration) time.Time {
	passed := at - c.at
	most := time.Duration(passed.Seconds() * float64(perSecond))
	return c.shown.Add(passed + min(max(c.slack, -most), most))
}

// WallAhead is how far the wall clock is ahead of this one, negative if it is behind.
func (c *Clock) WallAhead() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.opts.wall().Sub(c.showAt(c.opts.Passed()))
}

func far(d time.Duration) bool { return d.Abs() > Far }

// sinceNow counts from now on, by Go's monotonic clock.
func sinceNow() func() time.Duration {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}
