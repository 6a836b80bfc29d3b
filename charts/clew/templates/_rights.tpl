{{/* What the controller does with objects of namespaces. What a route becomes it writes by server-side apply, which is patch and create. */}}
{{- define "clew.rights.namespaced" -}}
- {apiGroups: [clew.dev], resources: [websocketroutes, websocketpolicies], verbs: [list, watch, patch]}
- {apiGroups: [clew.dev], resources: [websocketroutes/status], verbs: [patch]}
- {apiGroups: [clew.dev], resources: [websocketpolicies/status], verbs: [patch]}
- {apiGroups: [""], resources: [services], verbs: [get, list, watch, create, patch, delete]}
- {apiGroups: [""], resources: [pods], verbs: [list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
- {apiGroups: [gateway.networking.k8s.io], resources: [gateways], verbs: [list, watch]}
- {apiGroups: [gateway.networking.k8s.io], resources: [httproutes], verbs: [get, list, watch, create, patch, delete]}
- {apiGroups: [gateway.networking.k8s.io], resources: [referencegrants], verbs: [list, watch, delete]}
- {apiGroups: [networking.istio.io], resources: [gateways, envoyfilters], verbs: [list, watch]}
- {apiGroups: [security.istio.io], resources: [requestauthentications, authorizationpolicies], verbs: [list, watch]}
- {apiGroups: [networking.istio.io], resources: [virtualservices, destinationrules], verbs: [get, list, watch, create, patch, delete]}
- {apiGroups: [extensions.istio.io], resources: [wasmplugins], verbs: [list, watch]}
- {apiGroups: [gateway.envoyproxy.io], resources: [envoyextensionpolicies], verbs: [list, watch]}
- {apiGroups: [gateway.envoyproxy.io], resources: [backendtrafficpolicies], verbs: [get, list, watch, create, patch, delete]}
- {apiGroups: [events.k8s.io], resources: [events], verbs: [create, patch]}
{{- end -}}

{{/* And where it looks at all of them: letting routes of one lead into another. */}}
{{- define "clew.rights.between" -}}
- {apiGroups: [gateway.networking.k8s.io], resources: [referencegrants], verbs: [get, create, patch]}
{{- end -}}

{{/* What it does with what belongs to none, also where it looks at one namespace only. */}}
{{- define "clew.rights.cluster" -}}
- {apiGroups: [""], resources: [namespaces], verbs: [list, watch]}
- {apiGroups: [gateway.networking.k8s.io], resources: [gatewayclasses], verbs: [list, watch]}
- {apiGroups: [authentication.k8s.io], resources: [tokenreviews], verbs: [create]}
{{- end -}}

{{/* What it does at home: the Secrets that it makes once, and the Lease of whoever writes, which the chart makes. */}}
{{- define "clew.rights.own" -}}
- {apiGroups: [""], resources: [secrets], verbs: [create]}
- {apiGroups: [""], resources: [secrets], resourceNames: [clew-secrets], verbs: [get]}
- {apiGroups: [""], resources: [secrets], resourceNames: [clew-signing-keys], verbs: [get, list, watch, patch]}
- {apiGroups: [coordination.k8s.io], resources: [leases], resourceNames: [clew-controller], verbs: [get, update]}
{{- end -}}
