{{/* Rights of the operator on its own resources. `patch` is for finalizers. */}}
{{- define "mailhearth.watchRules" -}}
- apiGroups: [mailhearth.io]
  resources: [workspaces, mailboxpools]
  verbs: [get, list, watch, patch]
- apiGroups: [mailhearth.io]
  resources: [workspaces/status, mailboxpools/status]
  verbs: [patch]
{{- end }}

{{/* Rights of the operator on what it makes. */}}
{{- define "mailhearth.workRules" -}}
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{/* The namespaces that the operator serves, as a JSON list. */}}
{{- define "mailhearth.namespaces" -}}
{{- prepend .Values.operator.namespaces .Release.Namespace | uniq | toJson -}}
{{- end }}
