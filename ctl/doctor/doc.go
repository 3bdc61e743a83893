// Package doctor is "portcullisctl doctor": it looks at an installation from outside and
// says what works, what does not, and what to do about it.
//
// It is for somebody who was woken up. So it asks the API server for everything and needs no way to the server
// itself: what the server knows of its own work is in a ConfigMap (package status), which is there also when
// the server is not, and whose age says so. A check that cannot be made, for want of rights or because the
// server's word is too old, says that it is unknown, and never that all is well.
//
// Each check is a function of what was read, in a file with those that are about the same thing.
package doctor
