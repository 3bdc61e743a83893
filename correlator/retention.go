package correlator

import (
	"slices"
	"time"

	"github.com/portcullis-dev/portcullis/correlator/sequence"
	"github.com/portcullis-dev/portcullis/rule"
)

// retentionReserve is for what is not exact: a watermark that moves in steps, and
// clocks that are known within a tolerance only, for which the engines keep hits
// eight times that (5s at most) longer.
const retentionReserve = time.Minute

// Retention is how long the bus must keep a candidate after it arrived, so that
// after a restart everything is there that open and provisional matches rest on.
// maxSpan and lateness are as in Options, zero for their defaults.
//
// The watermark is at most twice lateness behind the clock. A match can change until everything up
// to its last event is a span below that: then nothing older is taken any
// more. Until then it must be found again, and it begins a span before its last event. That
// makes two spans. Where something can forbid a match, it is a span more: what did so may have
// happened so long before its first event.
func Retention(rules *rule.Set, maxSpan, lateness time.Duration) time.Duration {
	o := Options{MaxSpan: maxSpan, Lateness: lateness}.withDefaults()
	longest := 2*o.Lateness + retentionReserve
	for _, r := range rules.All() {
		if r.Program.IsSequence() {
			longest = max(longest, reach(specOf(r, o.MaxSpan), o.Lateness))
		}
	}
	return longest
}

// reach is what a sequence needs of Retention.
func reach(spec sequence.Spec, lateness time.Duration) time.Duration {
	return 2*spec.MaxSpan + contextOf(spec) + 2*lateness + retentionReserve
}

// contextOf is how long before its first event something can have forbidden a match.
func contextOf(spec sequence.Spec) time.Duration {
	if spec.Until || slices.Contains(spec.Stages, sequence.Stage{Negated: true}) {
		return spec.MaxSpan
	}
	return 0
}
