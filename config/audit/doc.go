// Package audit holds the audit policy that Portcullis needs from every API
// server, and renders it for an installation.
//
// The policy's text is the template policy.yaml, with its reasons as comments,
// because it is read by the people who run the API server and have to merge it
// with a policy of their own. Two things in it depend on the installation: the
// namespace and the name of the server's service account.
//
// What a policy leaves out is invisible to every rule, so the template is
// written from the other end than most: everything is recorded, and each
// exception says what somebody who holds that credential would gain from it.
// The tests of this package ask the API server's own evaluator.
package audit
