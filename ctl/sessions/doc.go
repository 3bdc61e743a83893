// Package sessions is "portcullisctl sessions": who ran what in which pod, for people and for programs.
//
// The server keeps the sessions, and tells them on an endpoint of its own ([Server], which the caller of New
// reaches). What it tells is an execsession.Document; nearly all texts in one were chosen by whoever is watched, and are
// escaped before they reach a terminal. Who asked for a session is shown as sure as it is: a name alone stands where
// nobody else can have asked, one with a question mark where somebody else can.
package sessions
