// Package packed keeps events in little room, for those who must keep many and
// look at few of them again: a sequence that waits for its next event is one of
// a million, and most are never completed.
//
// An event packs into two texts. What is its own takes a few hundred bytes. What
// it shares with many others (its kind, the pod, the container, the user, as a
// whole) is apart, so that whoever keeps both can keep equal ones once.
//
// Nothing is lost: an event unpacks to an equal one. Fields that are added to
// the vocabulary are packed without this package being changed, as it goes by
// the types. For that reason the form means nothing to another version of the
// program: it is for memory, not for disks or networks.
//
// # Form
//
// A struct is a bit for each field that says whether it is other than zero, and
// then those fields. Numbers are as long as they need to be; times are the
// difference to the time before. A text is written out, with hexadecimal digits
// and UUIDs at half their length, unless the event has had it already or it is
// one of the common ones: then it is a number.
package packed
