// Command gitops answers with the libraries that GitOps tools are made of.
//
//	gitops kstatus   reads a JSON list of objects; prints what kstatus makes of each
//	gitops decode    reads a JSON list of objects; prints why each is none of its kind, or "" where it is one
//	gitops render    reads a JSON list of charts with values; prints the rendered templates of each
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	notificationv1 "github.com/fluxcd/notification-controller/api/v1beta3"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	strictjson "sigs.k8s.io/json"
)

func main() {
	answers := map[string]func([]byte) (any, error){"kstatus": kstatus, "decode": decode, "render": render}
	if len(os.Args) != 2 || answers[os.Args[1]] == nil {
		log.Fatal("usage: gitops kstatus|decode|render < list.json")
	}
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		log.Fatal(err)
	}
	var objects []json.RawMessage
	if err := json.Unmarshal(text, &objects); err != nil {
		log.Fatal(err)
	}
	results := make([]any, 0, len(objects))
	for _, object := range objects {
		result, err := answers[os.Args[1]](object)
		if err != nil {
			log.Fatal(err)
		}
		results = append(results, result)
	}
	if err := json.NewEncoder(os.Stdout).Encode(results); err != nil {
		log.Fatal(err)
	}
}

func kstatus(text []byte) (any, error) {
	typed := &unstructured.Unstructured{}
	if err := typed.UnmarshalJSON(text); err != nil {
		return nil, err
	}
	computed, err := status.Compute(typed)
	if err != nil {
		return nil, err
	}
	return map[string]string{"status": computed.Status.String(), "message": computed.Message}, nil
}

func decode(text []byte) (any, error) {
	var object unstructured.Unstructured
	if err := object.UnmarshalJSON(text); err != nil {
		return nil, err
	}
	kinds := map[string]any{
		"PodMonitor":     &monitoringv1.PodMonitor{},
		"PrometheusRule": &monitoringv1.PrometheusRule{},
		"Kustomization":  &kustomizev1.Kustomization{},
		"GitRepository":  &sourcev1.GitRepository{},
		"HelmRelease":    &helmv2.HelmRelease{},
		"Provider":       &notificationv1.Provider{},
		"Alert":          &notificationv1.Alert{},
	}
	into, known := kinds[object.GetKind()]
	if !known {
		return nil, fmt.Errorf("kind %s is not known here", object.GetKind())
	}
	// As the API server does, this distinguishes upper and lower case in names of fields.
	unknown, err := strictjson.UnmarshalStrict(text, into)
	if err != nil {
		return err.Error(), nil
	}
	if len(unknown) > 0 {
		return errors.Join(unknown...).Error(), nil
	}
	return "", nil
}
