{{- define "vllama.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 54 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 54 | trimSuffix "-" }}{{ end -}}
{{- end }}

{{- define "vllama.operator" -}}
{{ include "vllama.name" . }}-operator
{{- end }}

{{- define "vllama.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "vllama.operator" .) }}
{{- end }}

{{- define "vllama.selector" -}}
app.kubernetes.io/name: vllama-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "vllama.labels" -}}
{{ include "vllama.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- /* An image's full name; a digest says exactly which, so it wins over the tag. */ -}}
{{- define "vllama.image" -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else if .tag }}{{ .repository }}:{{ .tag }}{{ else }}{{ fail (printf "image %s has neither tag nor digest; give one" .repository) }}{{ end -}}
{{- end }}

{{- /* The operator's settings file. */ -}}
{{- define "vllama.config" -}}
agentImage: {{ include "vllama.image" .Values.agent.image | quote }}
imagePullPolicy: {{ .Values.agent.image.pullPolicy }}
imagePullSecrets: {{ toJson .Values.imagePullSecrets }}
startSeconds: {{ int .Values.agent.startSeconds }}
cacheAccessMode: {{ .Values.cache.accessMode }}
cacheSize: {{ .Values.cache.size }}
clients:
  {{- toYaml .Values.clients | nindent 2 }}
profiles:
  {{- toYaml .Values.profiles | nindent 2 }}
{{- end }}

{{- /*
Exactly the verbs that the operator uses. Server-side apply is a patch, and a create where the object is not there yet. What an LLMServe owns
goes with it, by the cluster's garbage collector; only a budget may be unwanted before.
*/ -}}
{{- define "vllama.rules" -}}
- apiGroups: [vllama.dev]
  resources: [llmserves]
  verbs: [list, watch]
- apiGroups: [vllama.dev]
  resources: [llmserves/status]
  verbs: [patch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: &children [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [services, persistentvolumeclaims]
  verbs: *children
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: *children
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [batch]
  resources: [jobs]
  verbs: &prepared [list, watch, create, delete]
- apiGroups: [""]
  resources: [configmaps]
  verbs: *prepared
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, list]
{{- end }}
