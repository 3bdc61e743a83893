// Package feed serves exec sessions over HTTP, for portcullisctl and for programs.
//
//	GET /sessions               sessions as NDJSON, those that began last first
//	GET /sessions?follow=true   changes of sessions as NDJSON, until the client goes
//	GET /sessions/{id}          one session as JSON, with its processes and timeline
//
// A line is an execsession.Document. The parameters user, namespace, pod, attribution, since and until (RFC 3339)
// choose sessions; limit bounds a list; details=true adds processes and timeline to each of its lines. In a
// stream an empty line every quarter of a minute says that nothing has happened.
//
// Whoever calls has been let in before: a Feed itself asks nobody who they are. What they can cost is bounded
// all the same: parameters by their size, lists and followers by their number (503 beyond), and a reader
// who does not read by a deadline for each write.
package feed
