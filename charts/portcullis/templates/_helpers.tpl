{{/* Labels of every object. Takes a dict: root, component (may be empty). */}}
{{- define "portcullis.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/part-of: portcullis
{{ include "portcullis.selector" . }}
{{- end }}

{{/* Labels that select the pods of a component. They can never change. */}}
{{- define "portcullis.selector" -}}
app.kubernetes.io/name: portcullis
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{/* An image's reference. Takes a dict: root, image. */}}
{{- define "portcullis.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* The server's configuration file, as package config reads it: the values below
config, and what the chart decides itself because other objects agree with it. */}}
{{- define "portcullis.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $directories := list "/etc/portcullis/rules.d/values" -}}
{{- range .Values.ruleConfigMaps -}}
{{- $directories = append $directories (printf "/etc/portcullis/rules.d/configmap-%s" .) -}}
{{- end -}}
{{- $elastic := list -}}
{{- range .Values.elasticRuleConfigMaps -}}
{{- $elastic = append $elastic (printf "/etc/portcullis/elastic.d/configmap-%s" .) -}}
{{- end -}}
{{- $http := dict "url" .Values.config.notify.http.url -}}
{{- if .Values.notifyHTTP.bearerTokenSecret.name -}}
{{- $http = set $http "bearerTokenFile" "/etc/portcullis/notify/token" -}}
{{- end -}}
{{- if .Values.notifyHTTP.caConfigMap.name -}}
{{- $http = set $http "caFile" "/etc/portcullis/notify/ca.crt" -}}
{{- end -}}
{{- $webhook := dict "listen" ":8443" "configurationName" "portcullis" -}}
{{- if .Values.webhook.clientCAConfigMap.name -}}
{{- $webhook = set $webhook "clientCAFile" "/etc/portcullis/client-ca/ca.crt" -}}
{{- end -}}
{{- $pki := dict "servingSecret" "portcullis-serving" "sinkCASecret" "portcullis-sink-ca"
    "sinkTokensSecret" "portcullis-sink-tokens"
    "trustConfigMap" "portcullis-trust" "service" "portcullis" -}}
{{- range $field, $secret := dict "serving" .Values.pki.servingTLSSecret "sink" .Values.pki.sinkTLSSecret -}}
{{- if $secret -}}
{{- $folder := printf "/etc/portcullis/tls/%s" $field -}}
{{- $pki = set $pki (printf "%sFiles" $field) (dict "certificate" (printf "%s/tls.crt" $folder)
    "key" (printf "%s/tls.key" $folder) "ca" (printf "%s/ca.crt" $folder)) -}}
{{- end -}}
{{- end -}}
{{- $fixed := dict
  "namespace" .Release.Namespace
  "dataDirectory" "/var/lib/portcullis"
  "ruleDirectories" $directories
  "elasticRuleDirectories" $elastic
  "audit" (dict "listen" ":9443" "canaryConfigMap" "portcullis-canary")
  "collector" (dict "listen" ":8444" "serviceAccount" "portcullis-agent")
  "webhook" $webhook
  "metrics" (dict "listen" ":8080")
  "health" (dict "listen" ":8081")
  "pki" $pki
  "notify" (dict "http" $http)
  "gate" (dict "breakGlassGroups" .Values.gate.breakGlassGroups "exempt" .Values.gate.exempt
    "mirror" (and .Values.gate.policy.enabled .Values.gate.policy.mirror))
-}}
{{- mergeOverwrite $config $fixed | toYaml -}}
{{- end }}
