package quarantine

// Exempts reports whether the request is never judged.
func (g *Gate) Exempts(r Request) bool { return g.isExempt(&r) }

// Passes is the break-glass group by which the request would pass whatever stood against it, empty if there is none.
func (g *Gate) Passes(r Request) string { return g.breakGlass(&r) }

// Refuse takes over that the request is refused for another reason than a quarantine, such as a rule. It
// says whether that repeats a refusal of a moment ago, and the session of the action that it is then part of.
func (g *Gate) Refuse(r Request) (session string, repeat bool) {
	if r.At.IsZero() {
		r.At = g.opts.Now()
	}
	return g.repeats.seen(&r, g.opts.Now())
}

// Stands is the quarantine that stands against who makes the request, nil if there is none or they pass all the same. What
// the request reaches into is not looked at.
func (g *Gate) Stands(r Request) *Entry {
	if g.isExempt(&r) || g.breakGlass(&r) != "" {
		return nil
	}
	return g.whoAsks(&r, g.opts.Now())
}
