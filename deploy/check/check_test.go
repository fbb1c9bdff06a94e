// Package check holds everything in deploy, and the compose file, to the schemas and parsers of those who will read it,
// without a network. It is a module of its own, so that none of them becomes a dependency of the product.
package check

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/sluicedev/sluice/pkg/config"
)

type object = map[string]any

var overlays = []string{"base", "overlays/dev", "overlays/production", "overlays/keda"}

// built is what kustomize makes of a folder.
func built(t *testing.T, folder string) []object {
	t.Helper()
	made, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join("../kubernetes", folder))
	if err != nil {
		t.Fatal(err)
	}
	text, err := made.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	return documents(t, text)
}

func documents(t *testing.T, text []byte) (all []object) {
	t.Helper()
	for decoder := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var one object
		err := decoder.Decode(&one)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
}

// complaints are what the kind's own schema says of a manifest.
func complaints(t *testing.T, manifest object) error {
	t.Helper()
	file, err := os.Open("schemas.json")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	schemas, err := jsonschema.UnmarshalJSON(file)
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft4)
	if err := compiler.AddResource("mem:///schemas.json", schemas); err != nil {
		t.Fatal(err)
	}
	kind := strings.ReplaceAll(fmt.Sprintf("%v %v", manifest["apiVersion"], manifest["kind"]), "/", "~1")
	schema, err := compiler.Compile("mem:///schemas.json#/kinds/" + strings.ReplaceAll(kind, " ", "%20"))
	if err != nil {
		t.Fatalf("%s: %v (see derive)", kind, err)
	}
	text, err := json.Marshal(manifest)
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return schema.Validate(value)
}

func TestManifestsHoldToTheirSchemas(t *testing.T) {
	t.Parallel()
	example, err := os.ReadFile("../kubernetes/base/secret.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	sets := map[string][]object{"the example": documents(t, example)}
	for _, folder := range overlays {
		sets[folder] = built(t, folder)
	}
	for name, manifests := range sets {
		if len(manifests) < 3 {
			t.Errorf("%s has only %d manifests", name, len(manifests))
		}
		for _, m := range manifests {
			if err := complaints(t, m); err != nil {
				t.Errorf("%s: %v %v: %v", name, m["kind"], m["metadata"], err)
			}
		}
	}
}

// A field that is misspelt, deep inside, is found, or the test above would show nothing.
func TestATypoIsFound(t *testing.T) {
	t.Parallel()
	manifests := built(t, "overlays/keda")
	spoiled := map[string]func(object){
		"Deployment":    func(o object) { podOf(o)["terminationGracePeriodSecond"] = 30 },
		"ScaledObject":  func(o object) { o["spec"].(object)["minReplicasCount"] = 1 },
		"NetworkPolicy": func(o object) { o["spec"].(object)["policyType"] = []any{"Ingress"} },
	}
	for kind, spoil := range spoiled {
		i := slices.IndexFunc(manifests, func(o object) bool { return o["kind"] == kind })
		if i < 0 {
			t.Fatalf("there is no %s", kind)
		}
		spoil(manifests[i])
		if complaints(t, manifests[i]) == nil {
			t.Errorf("a misspelt field of a %s is not found", kind)
		}
	}
}

func podOf(manifest object) object {
	return manifest["spec"].(object)["template"].(object)["spec"].(object)
}

// containersOf are those of a Deployment or a Job.
func containersOf(manifest object) (all []object) {
	if kind := manifest["kind"]; kind != "Deployment" && kind != "Job" {
		return nil
	}
	pod := podOf(manifest)
	for _, list := range []string{"initContainers", "containers"} {
		some, _ := pod[list].([]any)
		for _, c := range some {
			all = append(all, c.(object))
		}
	}
	return all
}

var (
	apiRoute    = regexp.MustCompile(`(?m)^  (/\w*):`)
	workerRoute = regexp.MustCompile(`"GET (/\w+)"`)
)

func TestProbesAskForRoutesThatExist(t *testing.T) {
	t.Parallel()
	routes := map[string][]string{"api": found(t, apiRoute, "../../pkg/api/openapi.yaml"), "worker": found(t, workerRoute, "../../cmd/worker/admin.go")}
	probes := 0
	for _, m := range built(t, "overlays/production") {
		for _, c := range containersOf(m) {
			for _, name := range []string{"livenessProbe", "readinessProbe", "startupProbe"} {
				probe, ok := c[name].(object)
				if !ok {
					continue
				}
				probes++
				get := probe["httpGet"].(object)
				if path := get["path"].(string); !slices.Contains(routes[c["name"].(string)], path) {
					t.Errorf("%s asks %v for %s, which is none of %v", name, c["name"], path, routes[c["name"].(string)])
				}
				if ports := fmt.Sprint(c["ports"]); !strings.Contains(ports, fmt.Sprintf("name:%v", get["port"])) {
					t.Errorf("%s of %v: no port %v in %s", name, c["name"], get["port"], ports)
				}
			}
		}
	}
	if probes != 6 {
		t.Errorf("%d probes, want 6", probes)
	}
}

// found are the first groups of a pattern in files.
func found(t *testing.T, pattern *regexp.Regexp, files ...string) (all []string) {
	t.Helper()
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range pattern.FindAllSubmatch(text, -1) {
			all = append(all, string(m[1]))
		}
	}
	return all
}

// knows tells whether a process reads a setting, by what its help lists.
func knows(process, name string) bool {
	return regexp.MustCompile(`\b` + regexp.QuoteMeta(strings.TrimSuffix(name, "_FILE")) + `\b`).MatchString(config.Help(process))
}

func TestSettingsAreKnown(t *testing.T) {
	t.Parallel()
	seen := 0
	for _, m := range built(t, "overlays/dev") {
		for _, c := range containersOf(m) {
			process := strings.TrimPrefix(c["command"].([]any)[0].(string), "/")
			env, _ := c["env"].([]any)
			for _, e := range env {
				seen++
				if name := e.(object)["name"].(string); !knows(process, name) {
					t.Errorf("%s does not know %s", process, name)
				}
			}
		}
	}
	for name, service := range composed(t).Services {
		if service.Image != "sluice" || name == "simulator" {
			continue
		}
		process := strings.TrimPrefix(service.Command[0], "/")
		for variable := range service.Environment {
			seen++
			if !knows(process, variable) {
				t.Errorf("compose: %s does not know %s", process, variable)
			}
		}
	}
	if seen < 12 || knows("api", "SLUICE_TYPO") {
		t.Errorf("%d settings seen", seen)
	}
}

// graceSpare is what a worker needs after its drain limit to write the last ends and to sign off.
const graceSpare = 20 * time.Second

func TestGracePeriodsOutlastDrains(t *testing.T) {
	t.Parallel()
	for _, m := range built(t, "overlays/production") {
		for _, c := range containersOf(m) {
			env, _ := c["env"].([]any)
			for _, e := range env {
				if v := e.(object); v["name"] == "SLUICE_DRAIN_LIMIT" {
					outlasts(t, time.Duration(podOf(m)["terminationGracePeriodSeconds"].(int))*time.Second, v["value"].(string))
				}
			}
		}
	}
	worker := composed(t).Services["worker"]
	outlasts(t, time.Duration(*worker.StopGracePeriod), *worker.Environment["SLUICE_DRAIN_LIMIT"])
}

func outlasts(t *testing.T, grace time.Duration, limit string) {
	t.Helper()
	if drain, err := time.ParseDuration(limit); err != nil || grace < drain+graceSpare {
		t.Errorf("a grace of %s for a drain of %s (%v)", grace, limit, err)
	}
}

// composed is the compose file as docker compose reads it, with all profiles.
func composed(t *testing.T) *types.Project {
	t.Helper()
	p, err := loader.LoadWithContext(context.Background(), types.ConfigDetails{
		WorkingDir: "../..", ConfigFiles: []types.ConfigFile{{Filename: "../../docker-compose.yml"}}, Environment: types.Mapping{"OPENAI_API_KEY": "sk-test"},
	}, func(o *loader.Options) { o.Profiles = []string{"*"} })
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Workers can be scaled, as nothing of one is there once only, and nothing is published beyond this machine.
func TestComposeScalesAndPublishesOnLoopback(t *testing.T) {
	t.Parallel()
	p := composed(t)
	if w := p.Services["worker"]; w.ContainerName != "" || len(w.Ports) > 0 {
		t.Error("the worker has a name or a port, of which there can be one only")
	}
	published := 0
	for name, service := range p.Services {
		for _, port := range service.Ports {
			if published++; port.HostIP != "127.0.0.1" {
				t.Errorf("%s is published on %q", name, port.HostIP)
			}
		}
	}
	if published == 0 {
		t.Error("nothing is published")
	}
}

// Of each pod, what may come in and what may go out: every arrow that ARCHITECTURE.md draws, and no other.
func TestNetworksAreOpenWhereNeeded(t *testing.T) {
	t.Parallel()
	all := []string{"to kube-system 53", "to anybody 5432", "to anybody 6432", "to monitoring 4317", "to monitoring 4318"}
	want := map[string][]string{
		"api":     append([]string{"from ingress-nginx http", "from sluice-client http", "from monitoring http"}, all...),
		"worker":  append([]string{"from monitoring admin", "to 0.0.0.0/0 443", "to ::/0 443"}, all...),
		"migrate": all,
	}
	manifests := built(t, "overlays/keda")
	for _, m := range manifests {
		if kind := m["kind"]; kind != "Deployment" && kind != "Job" {
			continue
		}
		labels := m["spec"].(object)["template"].(object)["metadata"].(object)["labels"].(object)
		component := labels["app.kubernetes.io/component"].(string)
		got := arrows(manifests, labels)
		slices.Sort(got)
		slices.Sort(want[component])
		if !slices.Equal(got, want[component]) {
			t.Errorf("of %s are open\n%q; want\n%q", component, got, want[component])
		}
		delete(want, component)
	}
	if len(want) > 0 {
		t.Errorf("there is no %v", want)
	}
}

// arrows are what the policies together open for a pod, all of it being closed by one of them.
func arrows(manifests []object, pod object) (open []string) {
	closed := map[any]bool{}
	for _, m := range manifests {
		if m["kind"] != "NetworkPolicy" {
			continue
		}
		spec := m["spec"].(object)
		for label, value := range spec["podSelector"].(object)["matchLabels"].(object) {
			if pod[label] != value {
				spec = object{}
			}
		}
		types, _ := spec["policyTypes"].([]any)
		for _, t := range types {
			closed[t] = true
		}
		open = append(open, ruled("from", spec["ingress"])...)
		open = append(open, ruled("to", spec["egress"])...)
	}
	if !closed["Ingress"] || !closed["Egress"] {
		return []string{"everything"}
	}
	slices.Sort(open)
	return slices.Compact(open) // UDP and TCP
}

var peerName = regexp.MustCompile(`(?:metadata\.name:|cidr:)([^\s\]]+)|(sluice-client):true`)

func ruled(way string, rules any) (open []string) {
	list, _ := rules.([]any)
	for _, r := range list {
		peers, some := r.(object)[way].([]any)
		if !some {
			peers = []any{"metadata.name:anybody"}
		}
		for _, peer := range peers {
			name := peerName.FindStringSubmatch(fmt.Sprint(peer))
			for _, port := range r.(object)["ports"].([]any) {
				open = append(open, fmt.Sprintf("%s %s %v", way, name[1]+name[2], port.(object)["port"]))
			}
		}
	}
	return open
}

var metricName = regexp.MustCompile(`"(sluice_\w+)"`)

// metrics are those that pkg/telemetry names, with what Prometheus makes of histograms.
func metrics(t *testing.T) map[string]bool {
	t.Helper()
	files, err := filepath.Glob("../../pkg/telemetry/*.go")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, name := range found(t, metricName, files...) {
		for _, suffix := range []string{"", "_bucket", "_sum", "_count"} {
			known[name+suffix] = true
		}
	}
	if len(known) < 100 {
		t.Fatalf("only %d metrics are known", len(known))
	}
	return known
}

// asksForKnown parses an expression and looks whether there is what it asks for.
func asksForKnown(expr string, known map[string]bool) error {
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(strings.ReplaceAll(expr, "$__rate_interval", "5m"))
	if err != nil {
		return err
	}
	parser.Inspect(parsed, func(n parser.Node, _ []parser.Node) error {
		if s, ok := n.(*parser.VectorSelector); ok && !known[s.Name] {
			err = fmt.Errorf("%q asks for %s, which nobody tells", expr, s.Name)
		}
		return nil
	})
	return err
}

// alerts are the rules, as Prometheus reads them.
func alerts(t *testing.T) (rules []rulefmt.Rule) {
	t.Helper()
	groups, faults := rulefmt.ParseFile("../prometheus/alerts.yaml", false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	for _, g := range groups.Groups {
		rules = append(rules, g.Rules...)
	}
	return rules
}

func TestAlertsAskForWhatIsThere(t *testing.T) {
	t.Parallel()
	manual, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	known, rules := metrics(t), alerts(t)
	for _, r := range rules {
		if err := asksForKnown(r.Expr, known); err != nil {
			t.Error(err)
		}
		if !strings.Contains(string(manual), "| `"+r.Alert+"` |") {
			t.Errorf("docs/operations.md does not say what to do about %s", r.Alert)
		}
	}
	if len(rules) < 8 || asksForKnown("sluice_typo > 0", known) == nil {
		t.Errorf("%d rules", len(rules))
	}
}

func TestTheDashboardAsksForWhatIsThere(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../grafana/sluice.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Title, UID string
		Panels     []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil || board.Title == "" || board.UID == "" || len(board.Panels) < 10 {
		t.Fatalf("%v: %q with %d panels", err, board.Title, len(board.Panels))
	}
	known := metrics(t)
	for _, p := range board.Panels {
		if len(p.Targets) == 0 {
			t.Errorf("%s asks for nothing", p.Title)
		}
		for _, target := range p.Targets {
			if err := asksForKnown(target.Expr, known); err != nil {
				t.Errorf("%s: %v", p.Title, err)
			}
		}
	}
}

// Every metric of ours is in the manual, and nothing else.
func TestTheManualListsEveryMetric(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../pkg/telemetry/*.go")
	if err != nil {
		t.Fatal(err)
	}
	told := found(t, metricName, files...)
	listed := found(t, regexp.MustCompile("(?m)^\\| `(sluice_\\w+)` \\|.*"), "../../docs/operations.md")
	slices.Sort(told)
	slices.Sort(listed)
	if told = slices.Compact(told); !slices.Equal(told, listed) {
		t.Errorf("there are\n%v\nand docs/operations.md lists\n%v", told, listed)
	}
}
