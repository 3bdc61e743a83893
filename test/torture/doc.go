// Command torture asks the one question that Portcullis exists for: whose was it? Thousands
// of pods of equal names live in many namespaces and are made anew all the time, under the same name.
// They all act at the same moments: some read their token and use it, next to others of the same name that do
// one half of that, in the other order, or leave the other half to their successor.
//
// The pods are real objects in a real API server, and the server is the real one, in a process of its
// own (package test/serverprocess). What reaches it are audit events and telemetry that were recorded on a real cluster
// (docs/samples), byte by byte as an API server wrote them but for names and times. What the
// pods do is made up; so is when it arrives: API servers deliver late and in any order, or before the watch has told of the
// pod that asked; they send batches again that were acknowledged, and have clocks that are minutes apart; agents lose their connection, and their
// clocks differ as well; and the server is killed in the middle of it, and started on what its disk has.
//
// # What is compared
//
// The set of final detections. The server runs with a short lateness (-lateness), and the one shipped rule that spans a
// minute spans less (-span), so that all can be awaited: the pods stop, the watermark passes, and the
// server says that nothing can change any more. What was told before that is held against the truth as well: every
// provisional detection must be a chain of that very pod's acts, and after the end nothing else may be said.
//
// Two things are allowed, and the table says how often they were. What was told within a second before a kill may be
// told again, word for word. And a detection may name several pods, the right one among them, and do nothing: where a
// request bears no UID and the name changed hands at that moment, or changed while the server was away, nobody
// can know whose it was. Where it could be known (evidence.go) that is wrong.
//
// `make torture` prints what was to be detected, by the simulation's own knowledge of who did what, what
// was detected, and what a join by name makes of the same input: its exit status is not zero
// unless nothing is wrong, missed or doubled. Decisions follow from -seed; the moments at which
// things happen are also those of the machine.
//
// The files: slot.go the population, script.go what it does, captured.go the recorded events, source.go how they reach the
// server, director.go when; truth.go what must come of it, evidence.go what could be known, byname.go what comes of it by
// name, verdict.go the comparison.
package main
