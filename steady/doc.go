// Package steady is the clock that the server measures by.
//
// The wall clock is not ours: an NTP client, a hypervisor or a person may set it while the
// server runs, by an hour and back within a second. Whatever is compared with a time of
// before is wrong then. Everything seems to have expired, or nothing does for an hour.
//
// A Clock shows the wall time of the moment in which it was made, plus the time that has
// passed since, as the kernel counts it. The kernel speeds that up and slows it down together with the
// wall clock, so the two differ by what somebody has set, and by nothing else:
//
//   - Up to Far, as little steps leave it, the Clock follows, by a tenth of a millisecond
//     per second. That is within what package skew allows any clock, so it looks to nobody
//     like a clock that was set.
//   - Beyond Far it stays as it is. An error is logged, and the metric
//     portcullis_clock_wall_ahead_seconds shows by how much they differ. The next process
//     begins with the wall clock.
//
// A Clock never goes back. The time in which the machine slept has passed (Linux).
//
// The clocks of other machines are measured against this one, and the times that they
// wrote are brought to it. So a step of our wall clock changes none of them. Only what other people
// check by their own clocks needs the wall clock itself: certificates and tokens.
package steady
