// Package rule reads detection rules: what to look for (a query in EQL), how
// bad it is, what to do about it, and what is known to be harmless.
//
//	apiVersion: portcullis.dev/v1alpha1
//	kind: DetectionRule
//	metadata:
//	  name: token-access-then-api-request
//	spec:
//	  title: Service account token read, then used
//	  description: …
//	  severity: high
//	  riskScore: 73
//	  threats:
//	  - tactic: {id: TA0006, name: Credential Access}
//	    technique: {id: T1528, name: Steal Application Access Token}
//	  query: |
//	    sequence with maxspan=60s
//	      [file where …] by orchestrator.resource.name
//	      [any where …] by `kubernetes.audit.user.extra.authentication.kubernetes.io/pod-name`
//	  exceptions:
//	  - name: backup-agent
//	    reason: restic reads the token on every run
//	    where: orchestrator.namespace == "backup"
//	    expires: "2027-01-01"
//	  response:
//	    quarantine: {subject: pod, duration: 1h}
//	  mode: observe
//	  tags: [container]
//	  references: ["https://kubernetes.io/docs/…"]
//
// Reading is strict: unknown fields, repeated fields and repeated rule names are
// errors, and every mistake of all files is reported at once, each with its
// place in the file, also those inside a query. No rule of a Set with errors runs.
//
// # Exceptions
//
// An exception is a predicate with a name and a reason, so that a workload
// which is known to be harmless does not fork the rule. It reads as if
// `and not (…)` stood in every positive term of the query: an event for which
// it is true is no hit of the rule, at whichever stage. Terms that only prevent
// a match (`until`, `![ … ]`) are not affected: an exception never makes a rule
// fire. A predicate about fields that an event does not have is false, so one
// about the process leaves the audit events of a sequence alone. After expires
// (judged by the event's time) it counts for nothing.
package rule
