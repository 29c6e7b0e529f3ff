{{/* What selects the operator's pods. */}}
{{- define "vectorfleet.selector" -}}
app.kubernetes.io/name: vectorfleet
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Labels of everything in the chart. */}}
{{- define "vectorfleet.labels" -}}
{{ include "vectorfleet.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end }}
