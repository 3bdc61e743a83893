package main

const module = "github.com/portcullis-dev/portcullis/"

// point is a moment at which the server is killed: as it enters a function.
type point struct {
	// when says what has happened by then, and what has not.
	when     string
	function string
}

// points are the moments that a random kill would nearly never hit. A function that is no more, or that is never entered, fails
// the suite: name the one that has taken its place.
func points() []point {
	return []point{
		{"events taken in, candidates not on their way to the store", module + "jetstream.(*Bus).Publish"},
		{"candidates on their way to the store", module + "jetstream.(*Bus).confirm"},
		{"candidates stored, not acknowledged", module + "jetstream.(*recent).add"},
		{"candidate stored, not joined", module + "correlator.(*Correlator).consume"},
		{"detection made, nothing done about it", module + "app.(*responder).Handle"},
		{"quarantine due, not in force", module + "quarantine.(*Manager).Quarantine"},
		{"quarantine in force, its object not written", module + "quarantine.(*Manager).write"},
		{"quarantine's object written, that not recorded", module + "record.(*Book).Written"},
		{"quarantine in force, people not told", module + "app.(*responder).tell"},
		{"record on its way to the store", module + "jetstream.(*Bucket).Put"},
		{"people about to be told", module + "notify.(*HTTP).Send"},
		{"people told, not noted", module + "jetstream.(*Bucket).Delete"},
	}
}
