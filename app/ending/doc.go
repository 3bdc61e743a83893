// Package ending ends exec sessions because of what was concluded about them.
//
// Denying the next exec leaves the open shell alive. So a rule may ask for the end of the sessions that a detection
// is about (response.killSession): those in which its events happened, and those that were admitted into its
// pod before it and have not begun on the node yet. The latter are waited for, for some minutes, and end as they begin.
//
// What ends is the tree of processes under the session's first one, and nothing else of the container: the agent
// checks boot, PID, start time and container (package agent/session). A session whose first process is not known
// for sure ends when it is, or not at all: never somebody else's. Where it is one of several equal ones, all of them end if nobody else can be at
// one: each of their requests is to end as well, or its connection is closed.
//
// Sessions of those who came by break-glass go on.
package ending
