{{/*
The objects are not written here a second time. files/ holds them as kustomize renders them from
manifests/base, manifests/overlays and manifests/components (`make golden` writes files/); this
template takes those that the values ask for and changes what the values change.
*/}}

{{- define "palisade.key" -}}
{{ .kind }}/{{ .metadata.name }}
{{- end }}

{{/* Puts the objects of a file into a map by key; a later one replaces an earlier one. */}}
{{- define "palisade.take" -}}
{{- $into := .into -}}
{{- range (.root.Files.Get (printf "files/%s.yaml" .file) | fromYaml).objects -}}
{{- $_ := set $into (include "palisade.key" .) . -}}
{{- end -}}
{{- end }}

{{/* Sets a variable of the collector's environment. */}}
{{- define "palisade.env" -}}
{{- $container := .container -}}
{{- $kept := list -}}
{{- $done := false -}}
{{- range $container.env -}}
{{- if eq .name $.name -}}
{{- $_ := set . "value" $.value -}}
{{- $done = true -}}
{{- end -}}
{{- $kept = append $kept . -}}
{{- end -}}
{{- if not $done -}}
{{- $kept = append $kept (dict "name" .name "value" .value) -}}
{{- end -}}
{{- $_ := set $container "env" $kept -}}
{{- end }}

{{/* Image of a container, and resources where the values have some. */}}
{{- define "palisade.container" -}}
{{- $values := .root.Values -}}
{{- $name := .container.image | splitList ":" | first -}}
{{- $tag := default .root.Chart.AppVersion $values.image.tag -}}
{{- $prefix := ternary (printf "%s/" $values.image.registry) "" (ne $values.image.registry "") -}}
{{- $digest := get $values.image.digests $name -}}
{{- $version := ternary (printf "@%s" $digest) (printf ":%s" $tag) (ne $digest "") -}}
{{- $_ := set .container "image" (printf "%s%s%s" $prefix $name $version) -}}
{{- $_ := set .container "imagePullPolicy" $values.image.pullPolicy -}}
{{- if .resources -}}
{{- $_ := set .container "resources" (mergeOverwrite .container.resources .resources) -}}
{{- end -}}
{{- end }}
