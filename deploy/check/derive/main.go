// Command derive makes schemas.json: of every kind that the manifests use, what Kubernetes and KEDA themselves say of its
// fields, with unknown fields refused. Run it with `go run ./derive` in deploy/check after adding a kind or raising a version.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	kubernetes = "k8s.io/kubernetes@v1.34.0"
	keda       = "github.com/kedacore/keda/v2@v2.21.0"
)

// kinds are those that the manifests may use, by apiVersion and kind, as Kubernetes names them among its definitions.
var kinds = map[string]string{
	"v1 Secret":                              "io.k8s.api.core.v1.Secret",
	"v1 Service":                             "io.k8s.api.core.v1.Service",
	"apps/v1 Deployment":                     "io.k8s.api.apps.v1.Deployment",
	"batch/v1 Job":                           "io.k8s.api.batch.v1.Job",
	"policy/v1 PodDisruptionBudget":          "io.k8s.api.policy.v1.PodDisruptionBudget",
	"autoscaling/v2 HorizontalPodAutoscaler": "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler",
	"networking.k8s.io/v1 NetworkPolicy":     "io.k8s.api.networking.v1.NetworkPolicy",
}

// resources are KEDA's kinds, by the files of their definitions.
var resources = map[string]string{
	"keda.sh/v1alpha1 ScaledObject":          "keda.sh_scaledobjects.yaml",
	"keda.sh/v1alpha1 TriggerAuthentication": "keda.sh_triggerauthentications.yaml",
}

type object = map[string]any

func main() {
	if err := derive(); err != nil {
		fmt.Fprintln(os.Stderr, "derive:", err)
		os.Exit(1)
	}
}

func derive() error {
	out := object{"definitions": object{}, "kinds": object{}}
	if err := fromKubernetes(out); err != nil {
		return err
	}
	if err := fromKEDA(out); err != nil {
		return err
	}
	text, err := json.MarshalIndent(out, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile("schemas.json", append(text, '\n'), 0o644)
}

func fromKubernetes(out object) error {
	dir, err := download(kubernetes)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(dir, "api/openapi-spec/swagger.json"))
	if err != nil {
		return err
	}
	var spec struct{ Definitions map[string]object }
	if err := json.Unmarshal(text, &spec); err != nil {
		return err
	}
	for kind, name := range kinds {
		if err := take(spec.Definitions, out["definitions"].(object), name); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		out["kinds"].(object)[kind] = object{"$ref": "#/definitions/" + name}
	}
	return nil
}

// take copies a definition and all that it refers to.
func take(from map[string]object, to object, name string) error {
	if _, taken := to[name]; taken {
		return nil
	}
	definition, ok := from[name]
	if !ok {
		return fmt.Errorf("%s is not defined", name)
	}
	to[name] = strict(definition)
	for _, other := range references(definition, nil) {
		if err := take(from, to, other); err != nil {
			return err
		}
	}
	return nil
}

func references(v any, found []string) []string {
	switch v := v.(type) {
	case object:
		for key, inner := range v {
			if ref, ok := inner.(string); ok && key == "$ref" {
				found = append(found, strings.TrimPrefix(ref, "#/definitions/"))
			} else {
				found = references(inner, found)
			}
		}
	case []any:
		for _, inner := range v {
			found = references(inner, found)
		}
	}
	return found
}

func fromKEDA(out object) error {
	dir, err := download(keda)
	if err != nil {
		return err
	}
	for kind, file := range resources {
		text, err := os.ReadFile(filepath.Join(dir, "config/crd/bases", file))
		if err != nil {
			return err
		}
		var crd struct {
			Spec struct {
				Versions []struct {
					Schema struct {
						OpenAPI object `yaml:"openAPIV3Schema"`
					}
				}
			}
		}
		if err := yaml.Unmarshal(text, &crd); err != nil {
			return err
		}
		out["kinds"].(object)[kind] = strict(crd.Spec.Versions[0].Schema.OpenAPI)
	}
	return nil
}

// strict is a schema without its prose, which refuses fields that it does not name, unless it names none.
func strict(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = strict(v[i])
		}
	case object:
		return strictObject(v)
	}
	return v
}

func strictObject(o object) object {
	made := object{}
	if o["format"] == "int-or-string" || o["x-kubernetes-int-or-string"] == true {
		return object{"type": []string{"integer", "string"}}
	}
	for key, value := range o {
		switch {
		case key == "properties":
			fields := object{}
			for name, field := range value.(object) {
				fields[name] = strict(field)
			}
			made[key] = fields
		case key == "description", key == "format", strings.HasPrefix(key, "x-kubernetes"):
		default:
			made[key] = strict(value)
		}
	}
	if fields, ok := made["properties"].(object); ok && made["additionalProperties"] == nil && len(fields) > 0 {
		made["additionalProperties"] = false
	}
	return made
}

// download has the go command fetch a module, and gives its folder.
func download(module string) (dir string, err error) {
	text, err := exec.Command("go", "mod", "download", "-json", module).Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", module, err, text)
	}
	var got struct{ Dir string }
	return got.Dir, json.Unmarshal(text, &got)
}
