// Package record is the durable memory of what was concluded and what was done
// about it, by detection ID.
//
// After a restart the join is given everything again that could still be part of a
// sequence, and concludes the same detections with the same IDs. The Book tells which of
// them were dealt with completely (Known): those are not acted on, or told of,
// a second time, and a quarantine that somebody has released stays released. It
// keeps records for longer than any candidate is kept.
//
// # The order of things
//
// A record says Acting before anything is done, and Done once everything was: each
// quarantine is in the cluster or has ended, and people were told of the detection's
// state. Whoever finds a record in Acting does everything again; it has to be such that
// doing it twice is doing it once.
//
// # When the store fails
//
// Change waits for the store for a moment only, and never fails: what could
// not be stored waits in memory, and is stored when that works again (package backlog). What
// depends on a record is done all the same, since protecting comes first. If the process
// is killed before that, the detection is dealt with again when it is found again.
//
// # Bounds
//
// The Book keeps all records in memory as they are stored, some 150 bytes each, up to a bound. Beyond it
// the records that were written longest ago are forgotten, those without a quarantine
// first, and counted. Only those younger than what the join is given again are missed by
// anybody: their detections are told a second time after a restart.
package record
