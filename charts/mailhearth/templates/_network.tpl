{{/* Parts of NetworkPolicies. */}}

{{- define "mailhearth.policy" -}}
{{- $root := index . 0 -}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{- include "mailhearth.metadata" (list $root (index . 1) (printf "%s-%s" (include "mailhearth.fullname" $root) (index . 1))) | nindent 2 }}
spec:
  podSelector:
    matchLabels: {{- include "mailhearth.selector" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
{{- end }}

{{/* Those who may ask for metrics. The node asks the probes, which no policy can keep out. */}}
{{- define "mailhearth.fromMonitoring" -}}
- ports:
    - {protocol: TCP, port: 9090}
  {{- with .Values.networkPolicies.monitoringFrom }}
  from: {{- toYaml . | nindent 4 }}
  {{- end }}
- ports:
    - {protocol: TCP, port: 8081}
{{- end }}

{{- define "mailhearth.toDatabase" -}}
- ports:
    - {protocol: TCP, port: {{ include "mailhearth.databasePort" . }}}
  {{- if .Values.database.bundled.enabled }}
  to:
    - podSelector:
        matchLabels: {{- include "mailhearth.selector" (list . "postgres") | nindent 10 }}
  {{- else if .Values.networkPolicies.databaseAt }}
  to: {{- toYaml .Values.networkPolicies.databaseAt | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "mailhearth.toRedis" -}}
- ports:
    - {protocol: TCP, port: {{ include "mailhearth.redisPort" . }}}
  {{- if .Values.redis.bundled.enabled }}
  to:
    - podSelector:
        matchLabels: {{- include "mailhearth.selector" (list . "redis") | nindent 10 }}
  {{- else if .Values.networkPolicies.redisAt }}
  to: {{- toYaml .Values.networkPolicies.redisAt | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "mailhearth.toApiServer" -}}
- ports:
    {{- range .Values.networkPolicies.apiServerPorts }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
{{- end }}

{{/* Peers: pods of components, and workers of all namespaces served: (list $ components). */}}
{{- define "mailhearth.fromPods" -}}
{{- $root := index . 0 -}}
{{- with index . 1 }}
- podSelector:
    matchLabels:
      app.kubernetes.io/name: mailhearth
      app.kubernetes.io/instance: {{ $root.Release.Name }}
    matchExpressions:
      - {key: app.kubernetes.io/component, operator: In, values: {{ toJson . }}}
{{- end }}
- podSelector:
    matchLabels:
      app.kubernetes.io/name: mailhearth
      app.kubernetes.io/component: worker
  namespaceSelector:
    matchExpressions:
      - {key: kubernetes.io/metadata.name, operator: In, values: {{ include "mailhearth.namespaces" $root }}}
{{- end }}
