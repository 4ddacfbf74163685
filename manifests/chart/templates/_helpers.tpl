{{- /* An image's reference: by digest where one is given. */ -}}
{{- define "gpu-relay.image" -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}{{- else -}}{{ .repository }}:{{ .tag }}{{- end -}}
{{- end -}}
{{- /* What ends the names of ClusterRoles and their bindings, so that releases of several namespaces have their own. */ -}}
{{- define "gpu-relay.suffix" -}}
{{- if ne .Release.Namespace "gpu-relay" -}}.{{ .Release.Namespace }}{{- end -}}
{{- end -}}
