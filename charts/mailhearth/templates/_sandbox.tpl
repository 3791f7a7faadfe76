{{/* The address of the sandbox's Service, which its DNS zone has to name. */}}
{{- define "mailhearth.sandboxAddress" -}}
{{- $name := printf "%s-sandbox" (include "mailhearth.fullname" .) -}}
{{- $found := lookup "v1" "Service" .Release.Namespace $name | default dict -}}
{{- $address := .Values.sandbox.clusterIP | default (dig "spec" "clusterIP" "" $found) -}}
{{- if not $address }}
{{- fail "sandbox.clusterIP: give a free address of the cluster's Service network, for the sandbox's mail servers; `kubectl get services -A` shows those in use." }}
{{- end -}}
{{- $address -}}
{{- end }}

{{/* The sandbox's DNS, as workers read it: JSON. */}}
{{- define "mailhearth.zone" -}}
{{- $address := include "mailhearth.sandboxAddress" . -}}
{{- $zone := dict -}}
{{- range $domain := .Values.sandbox.domains }}
{{- $mx := list (dict "preference" 10 "host" (printf "mx.%s" $domain) "port" 25) -}}
{{- $_ := set $zone $domain (dict "a" (list $address) "mx" $mx "txt" (list "v=spf1 mx -all")) -}}
{{- $_ := set $zone (printf "_dmarc.%s" $domain) (dict "txt" (list (printf "v=DMARC1; p=quarantine; rua=mailto:postmaster@%s" $domain))) -}}
{{- range $host := list "mx" "smtp" "imap" "mail" }}
{{- $_ := set $zone (printf "%s.%s" $host $domain) (dict "a" (list $address)) -}}
{{- end }}
{{- end }}
{{- $service := printf "%s-sandbox" (include "mailhearth.fullname" .) -}}
{{- $_ := set $zone $service (dict "a" (list $address)) -}}
{{- $_ := set $zone (printf "%s.%s.svc" $service .Release.Namespace) (dict "a" (list $address)) -}}
{{- toJson $zone -}}
{{- end }}
