package jetstream

import (
	"github.com/portcullis-dev/portcullis/bus"
	"github.com/portcullis-dev/portcullis/event"
)

// admit returns the candidates whose owners have not more than their share. The others are dropped: to refuse
// them would have everybody's of the same delivery sent again, for as long as one does not stop.
func (b *Bus) admit(candidates []bus.Candidate, accounts []account) ([]bus.Candidate, []account) {
	over := make(map[account]bool, 1)
	dropped := 0
	for _, a := range accounts {
		if _, known := over[a]; !known {
			over[a] = b.shares.over(a)
		}
		if over[a] {
			dropped++
		}
	}
	if dropped == 0 {
		return candidates, accounts
	}
	admitted := make([]bus.Candidate, 0, len(candidates)-dropped)
	theirs := make([]account, 0, len(candidates)-dropped)
	lost := map[string]int{}
	for i, c := range candidates {
		if over[accounts[i]] {
			lost[event.OwnerName(string(c.Event.AppendOwner(nil)))]++
			continue
		}
		admitted, theirs = append(admitted, c), append(theirs, accounts[i])
	}
	b.cutOff(lost)
	return admitted, theirs
}

// cutOff tells of owners of whom nothing more is stored, and how many candidates that was.
func (b *Bus) cutOff(lost map[string]int) {
	for owner, n := range lost {
		b.store.metrics.overShare.Add(float64(n))
		b.options.Dropped(owner, n)
		b.told.Do(func() {
			b.store.options.Logger.Warn("a pod or user fills the bus, its candidates are dropped until older ones are let go",
				"owner", owner, "dropped", n)
		})
	}
}

// accounts are those that candidates are charged to.
func (b *Bus) accounts(candidates []bus.Candidate) []account {
	accounts := make([]account, len(candidates))
	var last *event.Event
	for i, c := range candidates {
		if c.Event == last {
			accounts[i] = accounts[i-1]
			continue
		}
		last, accounts[i] = c.Event, b.shares.account(c.Event)
	}
	return accounts
}
