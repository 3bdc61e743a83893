{{/* Expressions of policy.yaml, in CEL. An expression of the subject cannot use the policy's
variables: API servers do not have them in match conditions. */}}

{{/* Whether the request is made by the subject, or leads into it. It is asked of every Quarantine at every
request: no more is asked than must be. That a subject has its kind and name, and a pod's its uid and
namespace, is sure: the definition of Quarantines requires it. */}}
{{- define "portcullis.policy.subject" -}}
params.spec.subject.kind == 'Pod' ? (
  request.resource.resource == 'nodes' ? (
    (
      (has(params.spec.subject.nodeName) && {{ include "portcullis.policy.named" "params.spec.subject.nodeName" }})
      || (has(params.status) && has(params.status.nodeName) && {{ include "portcullis.policy.named" "params.status.nodeName" }})
    )
    && has(object.path) && ({{ include "portcullis.policy.unclear" . }} || object.path.matches('^/*(exec|run|attach|portForward|cri)(/|$)'))
  ) : (
    request.namespace == params.spec.subject.namespace && request.resource.resource == 'pods'
    && {{ include "portcullis.policy.named" "params.spec.subject.name" }}
    && (request.operation == 'CONNECT' || oldObject.metadata.uid == params.spec.subject.uid)
  )
) || {{ include "portcullis.policy.extra" (list "pod-uid" "params.spec.subject.uid") }} :
params.spec.subject.kind == 'User' ? request.userInfo.username == params.spec.subject.name :
params.spec.subject.kind == 'ServiceAccount' ? (
  request.userInfo.username == 'system:serviceaccount:' + params.spec.subject.namespace + ':' + params.spec.subject.name
) :
params.spec.subject.kind == 'Group' ? has(request.userInfo.groups) && params.spec.subject.name in request.userInfo.groups :
params.spec.subject.kind == 'Credential' ? {{ include "portcullis.policy.extra" (list "credential-id" "params.spec.subject.name") }} :
params.spec.subject.kind == 'Namespace' ? has(request.namespace) && request.namespace == params.spec.subject.name :
params.spec.subject.kind == 'Node'
  && request.resource.resource == 'nodes' && {{ include "portcullis.policy.named" "params.spec.subject.name" }}
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

{{/* What the person who is refused reads. Its beginning and its end are what package webhook/policy reads. */}}
{{- define "portcullis.policy.message" -}}
{{- $name := include "portcullis.policy.shown" (list "params.spec.subject.name" 128) -}}
{{- $namespace := include "portcullis.policy.shown" (list "params.spec.subject.namespace" 63) -}}
'portcullis: ' + (
  params.spec.subject.kind == 'Pod'
    ? 'pod ' + {{ $namespace }} + '/' + {{ $name }} + ' (UID ' + {{ include "portcullis.policy.shown" (list "params.spec.subject.uid" 64) }} + ', judged by name)' :
  params.spec.subject.kind == 'ServiceAccount' ? 'service account ' + {{ $namespace }} + '/' + {{ $name }} :
  params.spec.subject.kind.lowerAscii() + ' "' + {{ $name }} + '"'
) + ' is quarantined '
+ (has(params.spec.expiresAt) ? 'until ' + string(params.spec.expiresAt) + ', or until Portcullis is back if it is down then' : 'until it is released')
+ (has(params.spec.reason) ? ': ' + {{ include "portcullis.policy.shown" (list "params.spec.reason" 256) }} : '')
+ (has(params.spec.detection) && has(params.spec.detection.rule) ? ', rule ' + {{ include "portcullis.policy.shown" (list "params.spec.detection.rule" 128) }} : '')
+ (has(params.spec.detection) && has(params.spec.detection.id) ? ', detection ' + {{ include "portcullis.policy.shown" (list "params.spec.detection.id" 128) }} : '')
+ (params.spec.subject.kind == 'Pod' && request.resource.resource == 'nodes' ? '; a node where a quarantined pod runs lets nobody into any of its pods by its proxy' : '')
+ '; to release it: kubectl delete quarantine ' + params.metadata.name
{{- end }}
