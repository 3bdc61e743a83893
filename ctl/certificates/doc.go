// Package certificates is "portcullisctl certificates": it shows the certificates and authorities of an
// installation, and replaces authorities.
//
// What they are, and in which steps one takes over from another, is package pki's: the commands change the
// Secrets that the server looks at every minute, and nothing else. Who may do that is decided by who may get and update these
// Secrets. No command prints a key, and the only file that one writes holds certificates alone.
//
// The serving CA is replaced by the server, the sink CA by people, in two steps with work on every control plane
// host between them. What that work is stands in begin.txt and finish.txt.
package certificates
