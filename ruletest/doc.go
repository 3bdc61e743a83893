// Package ruletest runs the unit tests of detection rules: events in, detections
// out. A test file stands beside the rule that it tests and is called after it,
// exec-into-pod_test.yaml beside exec-into-pod.yaml:
//
//	apiVersion: portcullis.dev/v1alpha1
//	kind: DetectionRuleTest
//	rules: [token-access-then-api-request]
//	templates:
//	  token-read:
//	    fields:
//	      event: {category: [file], type: [change], action: [open]}
//	      process: {name: cat, interactive: true}
//	      file.path: /var/run/secrets/kubernetes.io/serviceaccount/token
//	      …
//	tests:
//	- name: the token is read at a terminal, then used
//	  events:
//	  - {id: read, at: 0s, extends: token-read}
//	  - {id: use, at: 30s, extends: api-request}
//	  detections:
//	  - {at: 30s, pod: shop/cart-0, action: would-quarantine, events: [read, use]}
//	- name: the token is used too late
//	  events:
//	  - {at: 0s, extends: token-read}
//	  - {at: 61s, extends: api-request}
//	  detections: []
//
// # Events
//
// An event is an ECS document (package correlator/field): dotted names, nested
// objects or both. It has the fields of the template that it extends, and of the
// one which that extends, and its own; a field that is null is taken away. A
// field that no event of ours has is a mistake, since no rule would ever see it.
// An event's time is the test's start and its own at after that. The order in
// which events are listed means nothing.
//
// # Detections
//
// The list is all that the file's rules conclude from the events, no more and no
// less; a near miss has an empty one. What an entry does not say is not compared.
// The rules run through the very same matcher and join as in the server.
//
// # Coverage
//
// A Report also tells which rules have no test, none in which they fire or none
// in which they stay quiet, and which exceptions never made the difference
// between a hit and none.
package ruletest
