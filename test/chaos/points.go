package main

const module = "github.com/portcullis-dev/portcullis/"

// point is a moment at which the server is killed: as it enters a function.
type point struct {
	// when says what has happened by then, and what has not.
	when     string
	function string
	// after, if it is set, is where the process before was killed: the moment is one of the next one's start,
	// which has something to take up.
	after string
}

// points are the moments that a random kill would nearly never hit. A function that is no more, or that is never entered, fails
// the suite: name the one that has taken its place.
func points() []point {
	const (
		candidatesStored = module + "jetstream.(*recent).add"
		waitingStored    = module + "app.(*pipeline).hold"
	)
	return []point{
		{when: "events taken in, candidates not on their way to the store", function: module + "jetstream.(*Bus).Publish"},
		{when: "candidates on their way to the store", function: module + "jetstream.(*Bus).confirm"},
		{when: "candidates stored, not acknowledged", function: candidatesStored},
		{when: "candidate stored, not joined", function: module + "correlator.(*Correlator).consume"},

		{when: "telemetry has to wait for its pod, not stored", function: module + "jetstream.(*Spool).Put"},
		{when: "telemetry that waits stored, not acknowledged", function: waitingStored},
		{when: "telemetry acknowledged, about to wait", function: module + "identity.(*Hold).Submit"},
		{when: "telemetry has waited, not on its way to the join", function: module + "identity.(*Hold).note"},
		{when: "telemetry that has waited on its way to the join", function: module + "app.(*pipeline).passNow"},
		{when: "telemetry that has waited handed on, still stored as waiting", function: module + "app.(*pipeline).forget"},

		{when: "detection made, nothing done about it", function: module + "app.(*responder).Handle"},
		{when: "detection about to be recorded", function: module + "record.(*Book).Change"},
		{when: "record on its way to the store", function: module + "backlog.(*Backlog).write"},
		{when: "quarantine due, not in force", function: module + "quarantine.(*Manager).Quarantine"},
		{when: "quarantine in force, its object not written", function: module + "quarantine.(*Manager).write"},
		{when: "quarantine's object written, that not recorded", function: module + "record.(*Book).Written"},
		{when: "quarantine in force, people not told", function: module + "app.(*responder).tell"},
		{when: "notice made, not in the outbox", function: module + "notify.(*Fanout).store"},
		{when: "notice in the outbox, that not recorded", function: module + "notify.(*lane).add"},
		{when: "people about to be told", function: module + "notify.(*HTTP).Send"},
		{when: "people told, not noted", function: module + "notify.(*lane).done"},

		{when: "start: store not open", function: module + "jetstream.startEngine", after: candidatesStored},
		{when: "start: candidates being joined again", function: module + "correlator.(*Correlator).consume", after: candidatesStored},
		{when: "start: telemetry that waited being taken up", function: module + "app.(*pipeline).resume", after: waitingStored},
	}
}
