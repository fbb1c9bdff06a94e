package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// standardwebhooks of npm, as the receivers of most use it.
const npmLibrary = "standardwebhooks@1.1.1"

// TestTheReferenceLibraryOfNode needs Node and npm's registry: without them it is skipped, unless CI=true.
func TestTheReferenceLibraryOfNode(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	if err := npmInstall(t.Context(), home); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s cannot be had: %v", npmLibrary, err)
		}
		t.Skipf("%s cannot be had: %v", npmLibrary, err)
	}
	script := filepath.Join(home, "verify.js")
	const verify = `const { Webhook } = require("standardwebhooks");
const { secret, body, headers } = JSON.parse(require("fs").readFileSync(0));
console.log(new Webhook(secret).verify(body, headers).type);`
	if err := os.WriteFile(script, []byte(verify), 0o600); err != nil {
		t.Fatal(err)
	}
	node := func(secret string, got received) (string, error) {
		headers := map[string]string{}
		for name := range got.header {
			headers[strings.ToLower(name)] = got.header.Get(name)
		}
		input, err := json.Marshal(map[string]any{"secret": secret, "body": string(got.body), "headers": headers})
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "node", script)
		cmd.Stdin = bytes.NewReader(input)
		out, err := cmd.CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	f := newFixture(t)
	r := receive(t, "127.0.0.1", yes)
	cfg := f.config(r)
	cfg.Keys[""] = keysOf(t, secretOf("old"), secretOf("new"))
	f.owe(1, "acme", r.url)
	f.deliver(cfg)
	got := r.next(t)
	for _, secret := range []string{"old", "new"} {
		if out, err := node(secretOf(secret), got); err != nil || out != "job.failed" {
			t.Errorf("with the %s secret: %v %s", secret, err, out)
		}
	}
	if out, err := node(secretOf("another"), got); err == nil {
		t.Errorf("with another secret it is accepted: %s", out)
	}
	got.body = bytes.Replace(got.body, []byte("failed"), []byte("done"), 1)
	if out, err := node(secretOf("new"), got); err == nil {
		t.Errorf("with another body it is accepted: %s", out)
	}
}

// What is sent is what openapi.yaml says.
func TestTheBodyIsThatOfTheContract(t *testing.T) {
	t.Parallel()
	doc, err := openapi3.NewLoader().LoadFromFile("../api/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	schema := doc.Components.Schemas["JobEnded"].Value
	for _, result := range []json.RawMessage{nil, json.RawMessage(`{"output_text":"hi","usage":{"input_tokens":3}}`)} {
		said, err := body("job.failed", []byte(keptJob), result)
		if err != nil {
			t.Fatal(err)
		}
		var value map[string]any
		if err := json.Unmarshal(said, &value); err != nil {
			t.Fatal(err)
		}
		if err := schema.VisitJSON(value, openapi3.EnableJSONSchema2020()); err != nil {
			t.Errorf("%s: %v", said, err)
		}
		data := value["data"].(map[string]any)
		for _, part := range doc.Components.Schemas["JobEndedData"].Value.AllOf {
			for _, name := range part.Value.Required {
				if _, there := data[name]; !there {
					t.Errorf("%s is missing", name)
				}
				delete(data, name)
			}
		}
		if len(data) > 0 {
			t.Errorf("nobody knows of %v", data)
		}
	}
}

// npmInstall puts the library below a folder. It asks up to three times: npm does not go on where an answer of the registry
// breaks off.
func npmInstall(ctx context.Context, home string) (err error) {
	for range 3 {
		install := exec.CommandContext(ctx, "npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", home, npmLibrary)
		out, failed := install.CombinedOutput()
		if failed == nil {
			return nil
		}
		err = fmt.Errorf("%w\n%s", failed, out)
	}
	return err
}
