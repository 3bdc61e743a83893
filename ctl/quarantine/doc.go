// Package quarantine is "portcullisctl quarantine": it lists and shows
// Quarantine objects, ends them, and adds them by hand.
//
// The objects are the interface: what these commands do, kubectl can do as
// well. They add what a person wants to know (who is denied, why, until when,
// how to end it) and guard against slips: releasing everybody needs a second
// flag, and what is released is what was looked at, not a later object of the
// same name.
package quarantine
