// Package ctl is the command line: it puts the commands of its sub-packages
// under one root, for portcullisctl and for the plugin "kubectl portcullis".
//
// Every command is a package of its own with a New function that takes streams
// and a way to reach the API server, so that tests run it like its users do.
// Commands print what was asked for to standard output and everything else to
// standard error; what others wrote (names, reasons, rule texts) is escaped
// before it reaches a terminal.
package ctl
