{{- /* An image's reference: by digest where one is given. */ -}}
{{- define "gpu-relay.image" -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}{{- else -}}{{ .repository }}:{{ .tag }}{{- end -}}
{{- end -}}
