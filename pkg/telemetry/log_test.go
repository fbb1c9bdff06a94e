package telemetry_test

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sluicedev/sluice/pkg/telemetry"
)

func TestALogOffATerminalIsJSON(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := telemetry.Logger(&out, slog.LevelWarn)
	log.Info("not told")
	log.Warn("told", "job_id", 7)
	var line struct {
		Msg   string
		JobID int `json:"job_id"`
	}
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || line.Msg != "told" || line.JobID != 7 {
		t.Errorf("%v: %s", err, out.Bytes())
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, ok := telemetry.Logger(file, slog.LevelInfo).Handler().(*slog.JSONHandler); !ok {
		t.Error("in a file it is no JSON")
	}
}

// A character device stands for a terminal here: nothing that is read back, but the kind of the handler tells.
func TestALogOnATerminalIsText(t *testing.T) {
	t.Parallel()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if _, ok := telemetry.Logger(null, slog.LevelInfo).Handler().(*slog.TextHandler); !ok {
		t.Error("it is no text")
	}
}

// Whoever logs a thing that has a key uses that key. These are the other words for one of them.
var otherWords = map[string]string{
	"job": "job_id", "jobID": "job_id", "worker": "worker_id", "call": "attempt", "request": "request_id", "trace": "trace_id", "jobType": "type",
}

func TestKeysOfTheLogAreTheSameEverywhere(t *testing.T) {
	t.Parallel()
	for word, key := range otherWords {
		if !slices.Contains(telemetry.Keys, key) {
			t.Errorf("%s stands for %s, which is no key", word, key)
		}
	}
	calls := 0
	for _, root := range []string{"../", "../../cmd"} {
		err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				for _, key := range keysOf(n) {
					calls++
					if better, wrong := otherWords[key]; wrong {
						t.Errorf("%s logs %q; the key is %q", name, key, better)
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if calls < 20 {
		t.Errorf("only %d keys were found", calls)
	}
}

// keysOf are the keys in a call of a logger; none for any other node.
func keysOf(n ast.Node) (keys []string) {
	call, ok := n.(*ast.CallExpr)
	if !ok {
		return nil
	}
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !slices.Contains([]string{"Debug", "Info", "Warn", "Error", "With"}, method.Sel.Name) {
		return nil
	}
	for i, arg := range call.Args {
		if value, ok := arg.(*ast.BasicLit); ok && value.Kind == token.STRING && (i > 0 || method.Sel.Name == "With") {
			key, _ := strconv.Unquote(value.Value)
			keys = append(keys, key)
		}
	}
	return keys
}
