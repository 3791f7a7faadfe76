{{/* Rights of the operator on its own resources. `patch` is for finalizers. */}}
{{- define "mailhearth.watchRules" -}}
- apiGroups: [mailhearth.io]
  resources: [workspaces, mailboxpools]
  verbs: [get, list, watch, patch]
- apiGroups: [mailhearth.io]
  resources: [workspaces/status, mailboxpools/status]
  verbs: [patch]
{{- end }}

{{/* Rights of the operator on what it makes; resources too, for what is wished for in the dashboard. */}}
{{- define "mailhearth.workRules" -}}
- apiGroups: [mailhearth.io]
  resources: [workspaces, mailboxpools]
  verbs: [create, delete]
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end }}

{{/* The namespaces that the operator serves, as a JSON list. */}}
{{- define "mailhearth.namespaces" -}}
{{- prepend .Values.operator.namespaces .Release.Namespace | uniq | toJson -}}
{{- end }}
