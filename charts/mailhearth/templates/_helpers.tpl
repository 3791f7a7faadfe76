{{/*
Names and words that all objects share. Where a template needs the component too, it is given
`(list $ "web")`.
*/}}

{{/* F: the name that all objects begin with. A CronJob's may have 52 characters at most. */}}
{{- define "mailhearth.fullname" -}}
{{- $name := .Release.Name -}}
{{- if not (contains "mailhearth" $name) }}{{ $name = printf "%s-mailhearth" $name }}{{ end -}}
{{- $name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "mailhearth.environment" -}}
{{- .Values.environment | default (ternary "staging" "production" .Values.sandbox.enabled) -}}
{{- end }}

{{- define "mailhearth.image" -}}
{{- with .Values.image -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end -}}
{{- end -}}
{{- end }}

{{/* What selects the pods of a component: (list $ component). */}}
{{- define "mailhearth.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: mailhearth
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "mailhearth.labels" -}}
{{- $root := index . 0 -}}
{{ include "mailhearth.selector" . }}
app.kubernetes.io/part-of: mailhearth
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/version: {{ $root.Values.image.tag | default $root.Chart.AppVersion | trunc 63 | quote }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* metadata of an object: (list $ component name [annotations]). */}}
{{- define "mailhearth.metadata" -}}
{{- $root := index . 0 -}}
name: {{ index . 2 }}
namespace: {{ $root.Release.Namespace }}
labels: {{- include "mailhearth.labels" . | nindent 2 }}
{{- $more := dict }}
{{- if gt (len .) 3 }}{{ $more = index . 3 | default dict }}{{ end }}
{{- with merge (dict) $more $root.Values.commonAnnotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* metadata of a pod: (list $ component values [annotations]). */}}
{{- define "mailhearth.podMetadata" -}}
{{- $root := index . 0 -}}
{{- $pods := mergeOverwrite (deepCopy $root.Values.pods) ((index . 2).pods | default dict) -}}
labels: {{- include "mailhearth.labels" . | nindent 2 }}
{{- with $pods.labels }}
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- $more := dict }}
{{- if gt (len .) 3 }}{{ $more = index . 3 | default dict }}{{ end }}
{{- with merge (dict) $more ($pods.annotations | default dict) $root.Values.commonAnnotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/*
What all pods have: (list $ component values [account]). Only a pod that names an account
of its own is given a token of the Kubernetes API.
*/}}
{{- define "mailhearth.pod" -}}
{{- $root := index . 0 -}}
{{- $account := "" }}{{ if gt (len .) 3 }}{{ $account = index . 3 }}{{ end -}}
{{- $pods := mergeOverwrite (deepCopy $root.Values.pods) ((index . 2).pods | default dict) -}}
serviceAccountName: {{ $account | default (include "mailhearth.fullname" $root) }}
automountServiceAccountToken: {{ ne $account "" }}
enableServiceLinks: false
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  # Only where a volume is new: later it would open private files to the group.
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with $pods.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $pods.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $pods.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $pods.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What all containers have: (list $ component-values). */}}
{{- define "mailhearth.container" -}}
{{- $root := index . 0 -}}
image: {{ include "mailhearth.image" $root }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
resources: {{- toYaml (index . 1).resources | nindent 2 }}
{{- end }}

{{/* Ports and probes of web, scheduler and operator. */}}
{{- define "mailhearth.probedPorts" -}}
- name: metrics
  containerPort: 9090
- name: probes
  containerPort: 8081
{{- end }}

{{- define "mailhearth.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: probes}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: probes}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: probes}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 3
{{- end }}

{{- define "mailhearth.probedEnv" -}}
- name: MAILHEARTH_LISTEN_HOST
  value: "0.0.0.0"
- name: MAILHEARTH_METRICS_PORT
  value: "9090"
- name: MAILHEARTH_HEALTH_PORT
  value: "8081"
{{- end }}

{{/* Further settings by name, as the values have them. */}}
{{- define "mailhearth.settings" -}}
{{- range $name, $value := . }}
- name: {{ $name }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- end }}

{{/* A key of a Secret that is kept over upgrades, base64: (list $ secret key new-value). */}}
{{- define "mailhearth.kept" -}}
{{- $found := lookup "v1" "Secret" (index . 0).Release.Namespace (index . 1) | default dict -}}
{{- dig "data" (index . 2) "" $found | default (index . 3 | b64enc) -}}
{{- end }}

{{/* The volume with the authorities that processes trust, at /ca. */}}
{{- define "mailhearth.trustName" -}}
{{- .Values.trust.existingConfigMap | default (printf "%s-ca" (include "mailhearth.fullname" .)) -}}
{{- end }}

{{- define "mailhearth.trustVolume" -}}
- name: ca
  configMap:
    name: {{ include "mailhearth.trustName" . }}
{{- end }}

{{- define "mailhearth.trustMount" -}}
- name: ca
  mountPath: /ca
  readOnly: true
{{- end }}

{{- define "mailhearth.tmpVolume" -}}
- name: tmp
  emptyDir:
    sizeLimit: 256Mi
{{- end }}

{{- define "mailhearth.tmpMount" -}}
- name: tmp
  mountPath: /tmp
{{- end }}

{{/* A claim's spec: (dict with size, storageClass, accessMode). */}}
{{- define "mailhearth.claim" -}}
accessModes: [{{ .accessMode | default "ReadWriteOnce" }}]
{{- with .storageClass }}
storageClassName: {{ . }}
{{- end }}
resources:
  requests:
    storage: {{ .size }}
{{- end }}

{{/* Probes of what is no HTTP server: (list command port). */}}
{{- define "mailhearth.checkedProbes" -}}
startupProbe:
  exec:
    command: [mailhearth, {{ index . 0 }}, --check]
  periodSeconds: 3
  timeoutSeconds: 15
  failureThreshold: 60
readinessProbe:
  exec:
    command: [mailhearth, {{ index . 0 }}, --check]
  periodSeconds: 15
  timeoutSeconds: 15
  failureThreshold: 2
livenessProbe:
  tcpSocket: {port: {{ index . 1 }}}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end }}
