// Package recording reads what was recorded of a cluster: API servers' audit
// logs and Portcullis' own telemetry log, as the events that the server would
// have made of them.
//
// # What can be read
//
// An audit log has one audit.k8s.io/v1 Event per line, as an API server writes
// it with --audit-log-path; an EventList, as an API server sends it to a webhook,
// is read as well. A telemetry log has one document per line, see field.Schema.
// Either may be compressed with gzip or zstd, whatever it is called, or be
// spread over many lines by a pretty printer.
//
// # What cannot be read
//
// Logs are rotated while they are read, disks fill up, and somebody cuts a file
// in the middle. One line that is no event says little about the others: it is
// yielded as a LineError with its file and line, counted, and reading goes on.
// The caller decides what to make of it. A last line that just ends (Torn) is
// what a rotated log looks like, and harmless. A file with lines of which none
// is an event is something else than the caller believes: that is an error, and
// so is whatever keeps the rest of a file from being read.
//
// Nothing here trusts a recording: lines, files in a single piece and the memory
// of decompression are bounded, and what is quoted in errors is short and escaped.
//
// # Identity
//
// A recording has no API server to ask which pod a name was. It has itself:
// telemetry names the pods with UID, namespace and name, and so do the
// credentials that audit events carry. Where a request names a pod without a UID (as kubectl exec
// does) and the recording knows exactly one of that namespace and name, that is
// the pod (event.ByName); of several, all are candidates (event.Ambiguous). The
// answer needs the whole recording, whatever the order of its files, so events
// with such a pod come after all others.
package recording
