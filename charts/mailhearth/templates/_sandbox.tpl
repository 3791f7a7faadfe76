{{/* The sandbox's Service, as pods of any namespace find it. */}}
{{- define "mailhearth.sandboxHost" -}}
{{ include "mailhearth.fullname" . }}-sandbox.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}
{{- end }}

{{/* The sandbox's DNS, as workers read it; `mailhearth sandbox-zone` prints the same. */}}
{{- define "mailhearth.zone" -}}
{{- $host := include "mailhearth.sandboxHost" . -}}
{{- $zone := dict -}}
{{- range $domain := list "harbour.test" "meadow.test" "summit.test" }}
{{- $mx := list (dict "preference" 10 "host" (printf "mx.%s" $domain) "port" 1025) -}}
{{- $_ := set $zone $domain (dict "alias" $host "mx" $mx "txt" (list "v=spf1 mx -all")) -}}
{{- $_ := set $zone (printf "_dmarc.%s" $domain) (dict "txt" (list (printf "v=DMARC1; p=quarantine; rua=mailto:postmaster@%s" $domain))) -}}
{{- $_ := set $zone (printf "mx.%s" $domain) (dict "alias" $host) -}}
{{- end }}
{{- range list "imap.sandbox.test" "smtp.sandbox.test" }}{{ $_ := set $zone . (dict "alias" $host) }}{{ end -}}
{{- toJson $zone -}}
{{- end }}

{{/* Its twelve mailboxes, as a JSON list: name, domain, timezone. */}}
{{- define "mailhearth.sandboxPeople" -}}
{{- $people := list
  (list "Ines Albrecht" "harbour.test" "Europe/Berlin")
  (list "Tomas Rydell" "harbour.test" "Europe/Stockholm")
  (list "Priya Nair" "harbour.test" "Asia/Kolkata")
  (list "Owen Castell" "harbour.test" "America/New_York")
  (list "Mariam Haddad" "meadow.test" "Europe/Paris")
  (list "Jun Okabe" "meadow.test" "Asia/Tokyo")
  (list "Leila Moreau" "meadow.test" "Europe/London")
  (list "Caleb Whitlock" "meadow.test" "America/Chicago")
  (list "Sofia Duarte" "summit.test" "America/Sao_Paulo")
  (list "Niklas Brandt" "summit.test" "Europe/Vienna")
  (list "Ruth Adeyemi" "summit.test" "Africa/Lagos")
  (list "Hana Kovar" "summit.test" "Europe/Prague") -}}
{{- toJson $people -}}
{{- end }}
