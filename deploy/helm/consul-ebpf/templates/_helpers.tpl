{{/* There is one controller on a node, so the names are the same in every release. */}}
{{- define "consul-ebpf.name" -}}consul-ebpf{{- end }}
{{- define "consul-ebpf.webhook" -}}consul-ebpf-webhook{{- end }}
{{- define "consul-ebpf.configuration" -}}zz-consul-ebpf{{- end }}

{{- define "consul-ebpf.labels" -}}
{{ include "consul-ebpf.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}
{{- define "consul-ebpf.selector" -}}
app.kubernetes.io/name: {{ include "consul-ebpf.name" . }}
{{- end }}
{{- define "consul-ebpf.webhook.labels" -}}
{{ include "consul-ebpf.webhook.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}
{{- define "consul-ebpf.webhook.selector" -}}
app.kubernetes.io/name: {{ include "consul-ebpf.webhook" . }}
{{- end }}

{{- define "consul-ebpf.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "consul-ebpf.server" -}}
{{ .Values.consul.fullname }}-server.{{ .Values.consul.namespace | default .Release.Namespace }}.svc
{{- end }}

{{/* A map as TOML: the values of a table first, then the tables in it. */}}
{{- define "consul-ebpf.toml" -}}
{{- $path := .path -}}
{{- range $key, $value := .table }}
{{- if not (kindIs "map" $value) }}
{{ $key }} = {{ toJson $value }}
{{- end }}
{{- end }}
{{- range $key, $value := .table }}
{{- if kindIs "map" $value }}
{{- $inner := ternary $key (printf "%s.%s" $path $key) (empty $path) }}

[{{ $inner }}]
{{- include "consul-ebpf.toml" (dict "path" $inner "table" $value) }}
{{- end }}
{{- end }}
{{- end }}

{{/* What nodes and webhook have in common, as YAML. */}}
{{- define "consul-ebpf.common" -}}
{{- $consul := .Values.consul -}}
{{- $tls := $consul.tls -}}
{{- $addresses := $consul.addresses | default (list (include "consul-ebpf.server" .)) -}}
{{- $web := list -}}
{{- range $addresses -}}
{{- $host := . -}}
{{- if regexMatch ":[0-9]+$" . }}{{ $host = regexReplaceAll ":[0-9]+$" . "" }}{{ end -}}
{{- $web = append $web (ternary (printf "https://%s:8501" $host) (printf "http://%s:8500" $host) $tls.enabled) -}}
{{- end -}}
consul:
  source: watch
  addresses: {{ toJson $addresses }}
  grpc_port: {{ $consul.grpcPort }}
  http_addresses: {{ toJson ($consul.httpAddresses | default $web) }}
  datacenter: {{ $consul.datacenter | quote }}
  domain: {{ $consul.domain | quote }}
  tls:
    {{- if $tls.enabled }}
    {{- if not $tls.useSystemRoots }}
    ca_certs: /consul/tls/ca/tls.crt
    {{- end }}
    server_name: {{ $tls.serverName | quote }}
    http_server_name: {{ $tls.serverName | default (printf "server.%s.%s" $consul.datacenter $consul.domain) | quote }}
    {{- else }}
    disabled: true
    {{- end }}
  {{- if $consul.acls.enabled }}
  credentials:
    type: login
    auth_method: {{ $consul.acls.authMethod | default (printf "%s-k8s-auth-method" $consul.fullname) | quote }}
    bearer_token_file: /var/run/secrets/kubernetes.io/serviceaccount/token
  {{- end }}
{{- if not $tls.enabled }}
kernel:
  vip_port: 853
{{- end }}
dns:
  enabled: {{ .Values.dns.enabled }}
  {{- if .Values.dns.enabled }}
  vip: {{ .Values.dns.vip | quote }}
  server_port: {{ .Values.dns.serverPort }}
  {{- end }}
{{- end }}
