// Package leaks starts and stops the whole server again and again, in one process and with traffic,
// and looks at what is left: goroutines, open files and connections, files on disk. A server that
// is restarted with its process would never show any of it, and a reload that leaks what
// a restart leaks would only be found after weeks.
//
// The server runs against a real API server (package apiserver); without the binaries of
// one the test is skipped, or fails where CI is set.
package leaks
