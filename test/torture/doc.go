// Command torture asks the one question that Portcullis exists for: whose was it? Thousands
// of pods of equal names live in many namespaces and are made anew all the time, under the same name.
// They all act at the same moments: some read their token and use it, next to others of the same name that do
// one half of that, in the other order, or leave the other half to their successor.
//
// The pods are real objects in a real API server, and the server is the real one, in a process of its
// own (package test/serverprocess): what reaches it are EventList bytes and protocol frames. What the
// pods do is made up; so is when it arrives: API servers deliver late and in any order, send batches again
// that were acknowledged, and have clocks that are minutes apart; agents lose their connection, and their
// clocks differ as well; and the server is killed in the middle of it, and started on what its disk has.
//
// `make torture` prints what was to be detected, by the simulation's own knowledge of who did what, what
// was detected, and what a join by name makes of the same input: its exit status is not zero
// unless nothing is wrong, missed or doubled. Decisions follow from -seed; the moments at which
// things happen are also those of the machine.
//
// The files: slot.go the population, script.go what it does, source.go how that reaches the server, director.go
// when; truth.go what must come of it, byname.go what comes of it by name, verdict.go the comparison.
package main
