// Package backlog writes small values to a store that may be slow, full or away,
// for callers that must not wait for it: at once if that works, later if it does not.
//
// The newest value of a key is what gets written, whoever is faster. Put says whether
// the value outlives the process by now; what it could not write, Run does as soon as the store
// takes something again. While the store fails, Put does not try it: one write
// at a time, by Run, finds out whether it is back, so that a disk that hangs costs its first
// caller a moment and the others nothing.
//
// What waits is bounded: where too much does, the oldest is given up and counted.
package backlog
