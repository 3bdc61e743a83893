package ruleload

// Block is how many rules the shape has before it repeats.
const Block = 71

// kind is what a rule is about.
type kind int

const (
	telemetryThenAudit kind = iota // a sequence joined by the pod
	telemetrySequence              // a sequence within a container
	auditSingle
	fileSingle
	processSingle
)

// How many rules of a block are of each kind, in this order.
const (
	joined     = 4
	sequences  = 6
	auditRules = 12
	fileRules  = 8
	notAudit   = Block - auditRules
)

// traits are what a rule of the shape has, by its place in the block.
type traits struct {
	kind kind
	// ordinal counts the rules of its kind.
	ordinal int
	// star: asks whether there is a container by the pattern *. single: has one
	// pattern. listed, folded, colon: has a list of patterns for like, like~ or the colon.
	star, single, listed, folded, colon bool

	equal, in, or, not              bool
	notEqual, isTrue, null          bool
	optional, regex, runs           bool
	backquoted                      bool
	blockComment, lineComment, data bool
}

// some picks exactly n of the places of a block, spread over it. Block is prime,
// so that every step visits all places.
func some(place, step, n int) bool { return place*step%Block < n }

func traitsOf(place int) traits {
	t := traits{
		in: some(place, 7, 59), or: some(place+1, 11, 50), not: some(place, 13, 38),
		folded: some(place+3, 23, 15), blockComment: some(place, 5, 25), lineComment: some(place, 31, 4),
		equal: place != joined+sequences+auditRules-1,
	}
	t.kind, t.ordinal = kindOf(place)
	t.likes(place)
	switch t.kind {
	case telemetryThenAudit:
		t.backquoted = true
	case telemetrySequence:
		t.runs = t.ordinal == 0
	case auditSingle:
		t.backquoted = t.ordinal < 3
		t.data = t.ordinal%2 == 0
	case fileSingle:
	case processSingle:
		t.isTrue = t.ordinal%6 == 0
		t.notEqual = t.ordinal%6 == 1
		t.null = t.notEqual && t.ordinal < 24
		t.colon = t.ordinal%9 == 2
		t.optional = t.ordinal%16 == 3
		t.regex = t.ordinal%25 == 4
	}
	return t
}

func kindOf(place int) (k kind, ordinal int) {
	for _, size := range []int{joined, sequences, auditRules, fileRules} {
		if place < size {
			return k, place
		}
		place -= size
		k++
	}
	return processSingle, place
}

// likes gives 62 rules a like: 31 of them a list, 26 the pattern * and 5 another
// single pattern.
func (t *traits) likes(place int) {
	if t.kind == auditSingle {
		t.single, t.listed = t.ordinal < 5, t.ordinal >= 5 && t.ordinal < 10
		return
	}
	if place >= joined+sequences {
		place -= auditRules
	}
	spread := place * 17 % notAudit
	t.star, t.listed = spread < 26, spread >= 26 && spread < 52
}

// sizes are how many patterns the lists of a block have, 51 lists in all: 31 for
// like, 15 for like~, 5 for the colon. Together with the 5 single patterns and
// the 26 stars they are 957 patterns.
func sizes() []int {
	return []int{
		88, 79, 72, 65, 58, 53, 48, 43, 39, 35, 32, 28, 26, 23, 21, 19, 17, 15, 14, 13, 11, 10, 9, 8, 7, 7, 6,
		5, 5, 4, 4, 4, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4,
	}
}

// shapeOf deals out the shapes of a block's 931 patterns that are no star, so
// that long lists have all of them.
func shapeOf(number int) shape {
	const patterns, step = 931, 577
	at := number % patterns * step % patterns
	for s, n := range []int{399, 192, 184, 147, 9} {
		if at < n {
			return shape(s)
		}
		at -= n
	}
	panic("ruleload: the shapes are not as many as the patterns")
}
