package correlator

// budget notes what a rule's engine keeps, and makes room if all together keep
// too much: the owner that keeps most, of all rules, forgets its oldest. So a flood
// costs whoever makes it.
func (j *join) budget(r *joined) {
	j.held(r)
	if j.hits <= j.options.MaxHits && j.memory() <= j.options.MaxBytes {
		return
	}
	if j.store.owners == nil {
		j.store.account()
	}
	// Some more than necessary, so that not every hit has to look for room.
	hits, bytes := j.options.MaxHits-j.options.MaxHits/100, j.options.MaxBytes-j.options.MaxBytes/100
	for j.hits > hits || j.memory() > bytes {
		most := j.store.owners.most()
		if most == nil {
			return
		}
		if !j.shed(most) { // What it has is in no engine, after a panic.
			j.store.owners.setAside(most)
		}
	}
}

// shed makes an owner's oldest hit go, in one of the rules that keep some of it.
func (j *join) shed(o *owner) bool {
	if o.recent != nil && j.shedFrom(o.recent, o) {
		return true
	}
	for _, r := range j.rules {
		if j.shedFrom(r, o) {
			o.recent = r
			return true
		}
	}
	return false
}

func (j *join) shedFrom(r *joined, o *owner) bool {
	if r.engine == nil || !r.engine.Shed(o.name) {
		return false
	}
	j.held(r)
	return true
}

// memory is about how much memory the open sequences take.
func (j *join) memory() int64 { return j.bytes + j.store.bytes + int64(j.matches)*matchOverhead }

// held brings the totals up to date with one rule's engine.
func (j *join) held(r *joined) {
	hits, bytes := r.engine.Held()
	j.hits += hits - r.hits
	j.bytes += bytes - r.bytes
	r.hits, r.bytes = hits, bytes
}
