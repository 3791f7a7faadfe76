{{/* What the schema cannot say in a sentence: settings that do not go together. */}}
{{- define "mailhearth.check" -}}
{{- $v := .Values -}}
{{- if not $v.database.bundled.enabled }}
{{- if or (not $v.database.external.host) (not $v.database.external.existingSecret) }}
{{- fail "database: give database.external.host and database.external.existingSecret (a Secret with username and password), or set database.bundled.enabled=true for a trial." }}
{{- end }}
{{- else if $v.database.external.host }}
{{- fail "database.external.host: set database.bundled.enabled=false with it; only one of the two is used." }}
{{- end }}
{{- if not $v.redis.bundled.enabled }}
{{- if or (not $v.redis.external.host) (not $v.redis.external.existingSecret) }}
{{- fail "redis: give redis.external.host and redis.external.existingSecret (a Secret with web, worker, scheduler, admin and url), or set redis.bundled.enabled=true for a trial." }}
{{- end }}
{{- else if $v.redis.external.host }}
{{- fail "redis.external.host: set redis.bundled.enabled=false with it; only one of the two is used." }}
{{- end }}
{{- if and $v.sandbox.enabled (eq $v.environment "production") }}
{{- fail "sandbox.enabled: a sandbox has a clock of its own and is never production; set environment to staging or development, or leave it out." }}
{{- end }}
{{- if and $v.ingress.enabled (not $v.ingress.host) }}
{{- fail "ingress.host: is needed with ingress.enabled, as in mail.example.org." }}
{{- end }}
{{- if and $v.ingress.enabled (not $v.ingress.tls.secretName) }}
{{- fail "ingress.tls.secretName: is needed with ingress.enabled; the dashboard is served by https alone. Name the Secret with its certificate, also where cert-manager will make it." }}
{{- end }}
{{- if and $v.ingress.enabled $v.web.publicUrl (ne $v.web.publicUrl (printf "https://%s" $v.ingress.host)) }}
{{- if not (has $v.ingress.host (splitList "," ($v.web.settings.MAILHEARTH_ALLOWED_HOSTS | default "" | toString))) }}
{{- fail "web.publicUrl: is not https://<ingress.host>; leave it out, or add ingress.host to web.settings.MAILHEARTH_ALLOWED_HOSTS." }}
{{- end }}
{{- end }}
{{- if and $v.web.autoscaling.enabled (gt (int $v.web.autoscaling.minReplicas) (int $v.web.autoscaling.maxReplicas)) }}
{{- fail "web.autoscaling: minReplicas is above maxReplicas." }}
{{- end }}
{{- if and (gt (int $v.scheduler.replicas) 1) (ne $v.scheduler.storage.accessMode "ReadWriteMany") }}
{{- fail "scheduler.replicas: several schedulers share one volume; set scheduler.storage.accessMode=ReadWriteMany with a storage class that has it." }}
{{- end }}
{{- if and $v.operator.namespaces (not $v.operator.clusterWide) }}
{{- fail "operator.namespaces: is for operator.clusterWide=true; without it the operator serves its own namespace." }}
{{- end }}
{{- if and $v.tls.issuer.name (not $v.trust.certificates) (not $v.trust.existingConfigMap) }}
{{- fail "tls.issuer: give the issuer's authority in trust.certificates or trust.existingConfigMap, so that processes can verify what it issues." }}
{{- end }}
{{- if and $v.trust.certificates $v.trust.existingConfigMap }}
{{- fail "trust: give certificates or existingConfigMap, not both." }}
{{- end }}
{{- if and $v.trust.existingConfigMap (not $v.tls.issuer.name) (ne (include "mailhearth.certified" .) "[]") }}
{{- fail "trust.existingConfigMap: the chart's own authority is not in it; give trust.certificates instead, or tls.issuer for the certificates of bundled services." }}
{{- end }}
{{- if and $v.backups.base.enabled (not $v.database.bundled.archive.enabled) }}
{{- fail "backups.base: a base backup is of use with the archive of the write-ahead log; set database.bundled.archive.enabled=true." }}
{{- end }}
{{- if and $v.database.bundled.archive.enabled (not $v.database.bundled.enabled) }}
{{- fail "database.bundled.archive: an external database archives by itself; set it to false." }}
{{- end }}
{{- end }}
