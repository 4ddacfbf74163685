package main

import (
	"encoding/json"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
)

// rendering is what `helm template NAME CHART --namespace NAMESPACE --values …` is asked for.
type rendering struct {
	Chart     string         `json:"chart"`
	Namespace string         `json:"namespace"`
	Values    map[string]any `json:"values"`
}

// render returns the rendered text of each template by its path, as Helm's engine makes it.
func render(text []byte) (any, error) {
	var wanted rendering
	if err := json.Unmarshal(text, &wanted); err != nil {
		return nil, err
	}
	chart, err := loader.Load(wanted.Chart)
	if err != nil {
		return nil, err
	}
	release := chartutil.ReleaseOptions{Name: "gpu-relay", Namespace: wanted.Namespace, IsInstall: true}
	values, err := chartutil.ToRenderValues(chart, wanted.Values, release, chartutil.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	return engine.Render(chart, values)
}
