{{/* Expressions of policy.yaml, in CEL. An expression of the subject cannot use the policy's
variables: API servers do not have them in match conditions.

There are two policies that say the same, one of Quarantines and one of their mirrors. Every expression is made for
both here, from what the fields are called in either, so that the two cannot come to differ. */}}

{{/* How the policy finds the fields of a Quarantine. What is only there where its has… is true is only asked for then.
That a subject has its kind and name, and a pod's its uid and namespace, is sure: the definition of Quarantines requires it. */}}
{{- define "portcullis.policy.fields.quarantine" -}}
whole: "true"
quarantine: params.metadata.name
kind: params.spec.subject.kind
name: params.spec.subject.name
namespace: params.spec.subject.namespace
uid: params.spec.subject.uid
hasNodeName: has(params.spec.subject.nodeName)
nodeName: params.spec.subject.nodeName
hasRunsOn: has(params.status) && has(params.status.nodeName)
runsOn: params.status.nodeName
hasOperations: has(params.spec.operations) && size(params.spec.operations) > 0
operations: params.spec.operations
hasExpiresAt: has(params.spec.expiresAt)
expiresAt: string(params.spec.expiresAt)
hasReason: has(params.spec.reason)
reason: params.spec.reason
hasRule: has(params.spec.detection) && has(params.spec.detection.rule)
rule: params.spec.detection.rule
hasDetection: has(params.spec.detection) && has(params.spec.detection.id)
detection: params.spec.detection.id
{{- end }}

{{/* How it finds them in the LimitRange that mirrors one, as package quarantine writes it. Nobody requires anything of
annotations: a LimitRange that is not whole, or that Portcullis would not clear away, is none of its mirrors, and counts for nothing. */}}
{{- define "portcullis.policy.fields.mirror" -}}
whole: >-
  params.metadata.name.startsWith('portcullis-quarantine-') && has(params.metadata.annotations)
  && 'portcullis.dev/quarantine' in params.metadata.annotations
  && 'portcullis.dev/kind' in params.metadata.annotations
  && 'portcullis.dev/name' in params.metadata.annotations
  && 'portcullis.dev/namespace' in params.metadata.annotations
  && 'portcullis.dev/uid' in params.metadata.annotations
quarantine: params.metadata.annotations['portcullis.dev/quarantine']
kind: params.metadata.annotations['portcullis.dev/kind']
name: params.metadata.annotations['portcullis.dev/name']
namespace: params.metadata.annotations['portcullis.dev/namespace']
uid: params.metadata.annotations['portcullis.dev/uid']
hasNodeName: "'portcullis.dev/nodeName' in params.metadata.annotations"
nodeName: params.metadata.annotations['portcullis.dev/nodeName']
hasRunsOn: "'portcullis.dev/runsOn' in params.metadata.annotations"
runsOn: params.metadata.annotations['portcullis.dev/runsOn']
hasOperations: "'portcullis.dev/operations' in params.metadata.annotations"
operations: params.metadata.annotations['portcullis.dev/operations'].split(',')
hasExpiresAt: "'portcullis.dev/expiresAt' in params.metadata.annotations"
expiresAt: params.metadata.annotations['portcullis.dev/expiresAt']
hasReason: "'portcullis.dev/reason' in params.metadata.annotations"
reason: params.metadata.annotations['portcullis.dev/reason']
hasRule: "'portcullis.dev/rule' in params.metadata.annotations"
rule: params.metadata.annotations['portcullis.dev/rule']
hasDetection: "'portcullis.dev/detection' in params.metadata.annotations"
detection: params.metadata.annotations['portcullis.dev/detection']
{{- end }}

{{/* Whether the request is made by the subject, or leads into it. It is asked of every Quarantine at every
request: no more is asked than must be. Takes the fields. */}}
{{- define "portcullis.policy.subject" -}}
{{- if ne .whole "true" -}}
{{ .whole }} && (
{{- end }}
{{ .kind }} == 'Pod' ? (
  request.resource.resource == 'nodes' ? (
    (
      ({{ .hasNodeName }} && {{ include "portcullis.policy.named" .nodeName }})
      || ({{ .hasRunsOn }} && {{ include "portcullis.policy.named" .runsOn }})
    )
    && has(object.path) && ({{ include "portcullis.policy.unclear" . }} || object.path.matches('^/*(exec|run|attach|portForward|cri)(/|$)'))
  ) : (
    request.namespace == {{ .namespace }} && request.resource.resource == 'pods'
    && {{ include "portcullis.policy.named" .name }}
    && (request.operation == 'CONNECT' || oldObject.metadata.uid == {{ .uid }})
  )
) || {{ include "portcullis.policy.extra" (list "pod-uid" .uid) }} :
{{ .kind }} == 'User' ? request.userInfo.username == {{ .name }} :
{{ .kind }} == 'ServiceAccount' ? (
  request.userInfo.username == 'system:serviceaccount:' + {{ .namespace }} + ':' + {{ .name }}
) :
{{ .kind }} == 'Group' ? has(request.userInfo.groups) && {{ .name }} in request.userInfo.groups :
{{ .kind }} == 'Credential' ? {{ include "portcullis.policy.extra" (list "credential-id" .name) }} :
{{ .kind }} == 'Namespace' ? has(request.namespace) && request.namespace == {{ .name }} :
{{ .kind }} == 'Node'
  && request.resource.resource == 'nodes' && {{ include "portcullis.policy.named" .name }}
{{- if ne .whole "true" -}}
)
{{- end }}
{{- end }}

{{/* Whether the request's object has the name, which a proxy's may follow with a port and precede
with a scheme. A name that is longer than any could be for a good reason counts as every name: a port
may have any number of leading zeros. Takes the expression of the name. */}}
{{- define "portcullis.policy.named" -}}
(request.name == {{ . }} || size(request.name) > 512
  || (request.name.contains(':') && request.name.split(':')[size(request.name.split(':')) == 3 ? 1 : 0] == {{ . }}))
{{- end }}

{{/* Whether the user's credential has the value. Takes the list of the key, without the part that all
have in common, and the expression of the value. */}}
{{- define "portcullis.policy.extra" -}}
{{- $key := printf "'authentication.kubernetes.io/%s'" (index . 0) -}}
(has(request.userInfo.extra) && {{ $key }} in request.userInfo.extra && {{ index . 1 }} in request.userInfo.extra[{{ $key }}])
{{- end }}

{{/* Whether the path of a node's proxy can lead elsewhere than it seems: the API server resolves
dots before it passes it on. Nobody needs such a path, nor a long one. */}}
{{- define "portcullis.policy.unclear" -}}
(size(object.path) > 1024 || object.path.matches('(^|/)[.][.]?(/|$)'))
{{- end }}

{{/* What the request does, whatever way it comes; empty if that is unclear, which counts as everything. */}}
{{- define "portcullis.policy.operation" -}}
request.operation == 'UPDATE' ? 'ephemeralcontainers' :
request.resource.resource != 'nodes' ? request.subResource :
!has(object.path) ? 'proxy' :
{{ include "portcullis.policy.unclear" . }} ? '' :
object.path.matches('^/*(cri/+exec|exec|run)(/|$)') ? 'exec' :
object.path.matches('^/*(cri/+)?attach(/|$)') ? 'attach' :
object.path.matches('^/*(cri/+portforward|portForward)(/|$)') ? 'portforward' :
object.path.matches('^/*cri(/|$)') ? '' :
'proxy'
{{- end }}

{{/* A text that anybody may have written, fit for a terminal: bounded, on one line, and nothing but
letters, digits, marks, punctuation and symbols. Takes the list of its expression and its bound, in characters. */}}
{{- define "portcullis.policy.shown" -}}
{{- $text := index . 0 -}}{{- $max := index . 1 -}}
(size({{ $text }}) > {{ $max }} ? {{ $text }}.substring(0, {{ $max }}) + '…' : {{ $text }}).findAll(r'[\pL\pM\pN\pP\pS]+').join(' ')
{{- end }}

{{/* What the person who is refused reads. Its beginning and its end are what package webhook/policy reads. Takes the fields. */}}
{{- define "portcullis.policy.message" -}}
{{- $name := include "portcullis.policy.shown" (list .name 128) -}}
{{- $namespace := include "portcullis.policy.shown" (list .namespace 63) -}}
'portcullis: ' + (
  {{ .kind }} == 'Pod'
    ? 'pod ' + {{ $namespace }} + '/' + {{ $name }} + ' (UID ' + {{ include "portcullis.policy.shown" (list .uid 64) }} + ', judged by name)' :
  {{ .kind }} == 'ServiceAccount' ? 'service account ' + {{ $namespace }} + '/' + {{ $name }} :
  {{ .kind }}.lowerAscii() + ' "' + {{ $name }} + '"'
) + ' is quarantined '
+ ({{ .hasExpiresAt }} ? 'until ' + {{ .expiresAt }} + ', or until Portcullis is back if it is down then' : 'until it is released')
+ ({{ .hasReason }} ? ': ' + {{ include "portcullis.policy.shown" (list .reason 256) }} : '')
+ ({{ .hasRule }} ? ', rule ' + {{ include "portcullis.policy.shown" (list .rule 128) }} : '')
+ ({{ .hasDetection }} ? ', detection ' + {{ include "portcullis.policy.shown" (list .detection 128) }} : '')
+ ({{ .kind }} == 'Pod' && request.resource.resource == 'nodes' ? '; a node where a quarantined pod runs lets nobody into any of its pods by its proxy' : '')
+ '; to release it: kubectl delete quarantine ' + {{ .quarantine }}
{{- end }}

{{/* The specification of either policy. Takes the chart's root, the fields, and the kind of the parameters. */}}
{{- define "portcullis.policy.spec" -}}
{{- $values := .root.Values -}}
failurePolicy: {{ $values.gate.policy.failurePolicy }}
paramKind:
  {{- toYaml .paramKind | nindent 2 }}
matchConstraints:
  resourceRules:
    - apiGroups: [""]
      apiVersions: [v1]
      operations: [CONNECT]
      resources: [pods/exec, pods/attach, pods/portforward, pods/proxy, services/proxy, nodes/proxy]
    - apiGroups: [""]
      apiVersions: [v1]
      operations: [UPDATE]
      resources: [pods/ephemeralcontainers]
matchConditions:
  # One condition, and the cheapest question first: it is asked of every Quarantine that
  # there is, and all the rest of the policy of those only that it leaves over.
  - name: subject
    expression: >-
      {{- include "portcullis.policy.subject" .fields | trim | nindent 6 }}
variables:
  - name: operation
    expression: >-
      {{- include "portcullis.policy.operation" . | trim | nindent 6 }}
  # Whether the request is one of those that the Quarantine denies, and nobody is exempt from it.
  - name: quarantined
    expression: >-
      (!({{ .fields.hasOperations }}) || variables.operation == '' || variables.operation in {{ .fields.operations }})
      && !(request.userInfo.username in {{ $values.gate.exempt.users | toJson }})
      && !(has(request.userInfo.groups) && request.userInfo.groups.exists(g, g in {{ $values.gate.exempt.groups | toJson }}))
      && !(has(request.namespace) && request.namespace in {{ $values.gate.exempt.namespaces | toJson }})
  # The groups of the user that pass all the same.
  - name: breakGlass
    expression: >-
      has(request.userInfo.groups) ? request.userInfo.groups.filter(g, g in {{ $values.gate.breakGlassGroups | toJson }}) : []
validations:
  - expression: "!variables.quarantined || size(variables.breakGlass) > 0"
    reason: Forbidden
    messageExpression: >-
      {{- include "portcullis.policy.message" .fields | trim | nindent 6 }}
    # Only if the message above failed.
    message: "portcullis: quarantined, see kubectl get quarantines"
# The audit event says what was decided, so that it is known when Portcullis is back.
auditAnnotations:
  - key: quarantine
    valueExpression: "variables.quarantined ? string({{ .fields.quarantine }}) : ''"
  - key: break-glass
    valueExpression: >-
      variables.quarantined && size(variables.breakGlass) > 0 ? variables.breakGlass[0] : ''
{{- end }}
