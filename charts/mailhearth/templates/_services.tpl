{{/* Where Postgres and Redis are, and how each process logs in. */}}

{{/* What makes a Service's name known in the other namespaces that are served. */}}
{{- define "mailhearth.elsewhere" -}}
{{- if .Values.operator.clusterWide }}.{{ .Release.Namespace }}.svc{{ end -}}
{{- end }}

{{- define "mailhearth.databaseHost" -}}
{{- if .Values.database.bundled.enabled }}{{ include "mailhearth.fullname" . }}-postgres{{ include "mailhearth.elsewhere" . }}{{ else }}{{ .Values.database.external.host }}{{ end -}}
{{- end }}

{{- define "mailhearth.databasePort" -}}
{{- if .Values.database.bundled.enabled }}5432{{ else }}{{ .Values.database.external.port }}{{ end -}}
{{- end }}

{{- define "mailhearth.databaseName" -}}
{{- if .Values.database.bundled.enabled }}mailhearth{{ else }}{{ .Values.database.external.name }}{{ end -}}
{{- end }}

{{/* The Secret of the database's owner, with `username` and `password`. */}}
{{- define "mailhearth.ownerSecret" -}}
{{- if .Values.database.bundled.enabled }}{{ include "mailhearth.fullname" . }}-owner{{ else }}{{ .Values.database.external.existingSecret }}{{ end -}}
{{- end }}

{{- define "mailhearth.loginsSecret" -}}
{{- .Values.database.existingLoginsSecret | default (printf "%s-logins" (include "mailhearth.fullname" .)) -}}
{{- end }}

{{/* From the `@` on: host, port, name, and verified TLS. */}}
{{- define "mailhearth.databaseAddress" -}}
{{ include "mailhearth.databaseHost" . }}:{{ include "mailhearth.databasePort" . }}/{{ include "mailhearth.databaseName" . }}?sslmode=verify-full&sslrootcert=/ca/ca.crt
{{- end }}

{{/* The workers' URL, whose login the operator mounts. */}}
{{- define "mailhearth.workersDatabaseUrl" -}}
postgresql://{{ include "mailhearth.databaseAddress" . }}&options=-csearch_path%3Dmailhearth
{{- end }}

{{/* env of a role's URL: (list $ role variable). */}}
{{- define "mailhearth.databaseUrl" -}}
{{- $root := index . 0 -}}{{- $role := index . 1 -}}
- name: {{ upper $role }}_DATABASE_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ include "mailhearth.loginsSecret" $root }}
      key: {{ $role }}
- name: {{ index . 2 }}
  value: "postgresql://{{ $root.Values.database.rolePrefix }}_{{ $role }}:$({{ upper $role }}_DATABASE_PASSWORD)@{{ include "mailhearth.databaseAddress" $root }}&options=-csearch_path%3Dmailhearth"
{{- end }}

{{/* env of the owner's URL. */}}
{{- define "mailhearth.ownerUrl" -}}
- name: OWNER_USERNAME
  valueFrom:
    secretKeyRef:
      name: {{ include "mailhearth.ownerSecret" . }}
      key: username
- name: OWNER_DATABASE_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ include "mailhearth.ownerSecret" . }}
      key: password
- name: MAILHEARTH_OWNER_URL
  value: "postgresql://$(OWNER_USERNAME):$(OWNER_DATABASE_PASSWORD)@{{ include "mailhearth.databaseAddress" . }}"
{{- end }}

{{- define "mailhearth.redisHost" -}}
{{- if .Values.redis.bundled.enabled }}{{ include "mailhearth.fullname" . }}-redis{{ include "mailhearth.elsewhere" . }}{{ else }}{{ .Values.redis.external.host }}{{ end -}}
{{- end }}

{{- define "mailhearth.redisPort" -}}
{{- if .Values.redis.bundled.enabled }}6379{{ else }}{{ .Values.redis.external.port }}{{ end -}}
{{- end }}

{{- define "mailhearth.redisSecret" -}}
{{- if .Values.redis.bundled.enabled }}{{ include "mailhearth.fullname" . }}-redis{{ else }}{{ .Values.redis.external.existingSecret }}{{ end -}}
{{- end }}

{{- define "mailhearth.redisAddress" -}}
{{ include "mailhearth.redisHost" . }}:{{ include "mailhearth.redisPort" . }}/0?ssl_ca_certs=/ca/ca.crt
{{- end }}

{{/* env of a user's URL: (list $ user). */}}
{{- define "mailhearth.redisUrl" -}}
{{- $root := index . 0 -}}
- name: REDIS_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ include "mailhearth.redisSecret" $root }}
      key: {{ index . 1 }}
- name: MAILHEARTH_REDIS_URL
  value: "rediss://{{ index . 1 }}:$(REDIS_PASSWORD)@{{ include "mailhearth.redisAddress" $root }}"
{{- end }}

{{/* The address that people open. */}}
{{- define "mailhearth.publicUrl" -}}
{{- if .Values.web.publicUrl }}{{ .Values.web.publicUrl }}
{{- else if .Values.ingress.enabled }}https://{{ .Values.ingress.host }}
{{- else }}http{{ ternary "s" "" .Values.web.tls.enabled }}://localhost:{{ .Values.web.service.port }}{{ end -}}
{{- end }}

{{/* "true" where one-time links open the dashboard: in a sandbox without an OpenID provider. */}}
{{- define "mailhearth.localSignIn" -}}
{{- $own := regexMatch "^https?://(localhost|127\\.0\\.0\\.1)(:[0-9]+)?$" (include "mailhearth.publicUrl" .) -}}
{{- if and .Values.sandbox.enabled (not .Values.web.oidc.existingSecret) $own }}true{{ end -}}
{{- end }}

{{/* The Secret of a service's certificate: (list $ service [existing]). */}}
{{- define "mailhearth.tlsSecret" -}}
{{- $existing := "" }}{{ if gt (len .) 2 }}{{ $existing = index . 2 }}{{ end -}}
{{- $existing | default (printf "%s-%s-tls" (include "mailhearth.fullname" (index . 0)) (index . 1)) -}}
{{- end }}

{{/* The services whose certificates the chart sees to, as a JSON list. */}}
{{- define "mailhearth.certified" -}}
{{- $names := list -}}
{{- if .Values.database.bundled.enabled }}{{ $names = append $names "postgres" }}{{ end -}}
{{- if .Values.redis.bundled.enabled }}{{ $names = append $names "redis" }}{{ end -}}
{{- if and .Values.web.tls.enabled (not .Values.web.tls.existingSecret) }}{{ $names = append $names "web" }}{{ end -}}
{{- toJson $names -}}
{{- end }}

{{/* The names in a service's certificate, as a JSON list: (list $ service). */}}
{{- define "mailhearth.certifiedNames" -}}
{{- $root := index . 0 -}}
{{- $name := printf "%s-%s" (include "mailhearth.fullname" $root) (index . 1) -}}
{{- $namespace := $root.Release.Namespace -}}
{{- $names := list $name (printf "%s.%s" $name $namespace) (printf "%s.%s.svc" $name $namespace) (printf "%s.%s.svc.%s" $name $namespace $root.Values.clusterDomain) "localhost" -}}
{{- toJson $names -}}
{{- end }}
