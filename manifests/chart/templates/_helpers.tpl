{{- /* An image's reference: by digest where one is given. */ -}}
{{- define "gpu-relay.image" -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}{{- else -}}{{ .repository }}:{{ .tag }}{{- end -}}
{{- end -}}
{{- /* What ends the names of ClusterRoles and their bindings, so that releases of several namespaces have their own. */ -}}
{{- define "gpu-relay.suffix" -}}
{{- if ne .Release.Namespace "gpu-relay" -}}.{{ .Release.Namespace }}{{- end -}}
{{- end -}}

{{- /* Fields of a pod's spec that a part of the release sets, and the pull secrets of all. */ -}}
{{- define "gpu-relay.pod" -}}
{{- $set := dict -}}
{{- range $name, $value := pick .values "runtimeClassName" "nodeSelector" "tolerations" "affinity" -}}
{{- if $value -}}{{- $_ := set $set $name $value -}}{{- end -}}
{{- end -}}
{{- with .root.Values.imagePullSecrets -}}{{- $_ := set $set "imagePullSecrets" . -}}{{- end -}}
{{- if $set -}}{{ toYaml $set }}{{- end -}}
{{- end -}}
{{- /* SAM3's resources, with its GPU: a share, or a ResourceClaim. */ -}}
{{- define "gpu-relay.sam3Resources" -}}
{{- $resources := deepCopy .Values.sam3.resources -}}
{{- if .Values.gpu.resourceClaim -}}
{{- $resources = merge $resources (fromYaml "claims: [{name: gpu}]") -}}
{{- else if .Values.gpu.resource -}}
{{- $resources = mergeOverwrite $resources (dict "limits" (dict .Values.gpu.resource "1")) -}}
{{- end -}}
{{ toYaml $resources }}
{{- end -}}
{{- /* The operator's settings. */ -}}
{{- define "gpu-relay.settings" -}}
{{- $settings := dict -}}
{{- if .Values.gpu.resourceClaim -}}
{{- $settings = dict "GPU_RELAY_GPU_RESOURCE" "" "GPU_RELAY_GPU_RESOURCE_CLAIM" .Values.gpu.resourceClaim -}}
{{- else if ne .Values.gpu.resource "nvidia.com/gpu" -}}
{{- $settings = dict "GPU_RELAY_GPU_RESOURCE" .Values.gpu.resource -}}
{{- end -}}
{{- range $name, $value := mergeOverwrite $settings .Values.operator.settings }}
{{ $name }}: {{ $value | quote }}
{{- end -}}
{{- end -}}
