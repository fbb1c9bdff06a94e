// Package pkg_test holds the map of the packages: who may import whom. A new arrow is a decision, so it is made here,
// in the open, and not in passing.
package pkg_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

const module = "github.com/sluicedev/sluice/"

// allowed says which packages of ours a package may import. Arrows go one way: what decides (breaker, quota, retry)
// knows nothing of the database, what stores (queue, upstream) nothing of HTTP, and api and worker nothing of each other.
var allowed = map[string][]string{
	"db/migrations":  {},
	"pkg/breaker":    {},
	"pkg/quota":      {},
	"pkg/retry":      {},
	"pkg/strictjson": {},
	"pkg/jobtype":    {"pkg/retry", "pkg/strictjson"},

	"pkg/llm":         {},
	"pkg/llm/llmtest": {"pkg/llm"},
	"pkg/llm/openai":  {"pkg/llm"},

	"pkg/pg":        {"db/migrations"},
	"pkg/pg/local":  {},
	"pkg/pg/pgtest": {"db/migrations", "pkg/pg", "pkg/pg/local"},

	"pkg/queue":    {"pkg/jobtype", "pkg/pg", "pkg/strictjson"},
	"pkg/upstream": {"pkg/breaker", "pkg/pg", "pkg/quota"},
	"pkg/webhook":  {"pkg/pg", "pkg/retry"},
	"pkg/key":      {"pkg/pg"},

	"pkg/worker": {"pkg/breaker", "pkg/jobtype", "pkg/llm", "pkg/pg", "pkg/quota", "pkg/queue", "pkg/retry", "pkg/upstream"},
	"pkg/api":    {"pkg/jobtype", "pkg/key", "pkg/pg", "pkg/queue", "pkg/strictjson", "pkg/upstream", "pkg/webhook", "web/dashboard"},

	"pkg/protocol": {}, // a model, in tests alone

	"pkg/config":    {"pkg/jobtype", "pkg/retry"},
	"pkg/telemetry": {"pkg/queue", "pkg/upstream", "pkg/worker"},
	"web/dashboard": {},
}

// barred says which packages of ours a command may not import; it wires up anything else.
var barred = map[string][]string{
	"cmd/api":       {"pkg/llm/openai", "pkg/worker"},
	"cmd/worker":    {"pkg/api"},
	"cmd/demo":      {},
	"cmd/simulator": {},
}

// only says which package of ours alone may know a library, so that replacing it is a change in one place.
// A library is meant with its packages and its versions.
var only = map[string]string{
	"github.com/labstack/echo":        "pkg/api",
	"github.com/openai/openai-go":     "pkg/llm/openai",
	"github.com/pressly/goose":        "pkg/pg",
	"github.com/oapi-codegen/runtime": "pkg/api",
	"github.com/prometheus":           "pkg/telemetry",
	"go.opentelemetry.io":             "pkg/telemetry",
}

func TestArrows(t *testing.T) {
	t.Parallel()
	// It reads the files itself: a test that ran `go list` would be answered from the test cache.
	found, err := violations(os.DirFS(".."))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range found {
		t.Error(v)
	}
}

func TestArrowsAreSeen(t *testing.T) {
	t.Parallel()
	source := func(comment, imports string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte(comment + "package x\n" + imports)}
	}
	ours := func(name string) string { return "import _ " + strconv.Quote(module+name) + "\n" }
	tree := fstest.MapFS{
		"cmd/api/main.go":         source("// Comment.\n", ours("pkg/api")+ours("pkg/worker")),
		"db/migrations/fs.go":     source("// Comment.\n", ""),
		"pkg/queue/doc.go":        source("// Comment.\n", ours("pkg/pg")+`import _ "github.com/labstack/echo/v4"`),
		"pkg/queue/job.go":        source("// A second comment.\n", ""),
		"pkg/queue/job_test.go":   source("// Comment.\n", ours("pkg/worker")),
		"pkg/breaker/breaker.go":  source("", ours("pkg/pg")),
		"pkg/utils/utils.go":      source("// Comment.\n", ""),
		"bench/go.mod":            {},
		"bench/main.go":           source("", ours("pkg/worker")),
		"web/node_modules/x/x.go": source("", ""),
	}
	want := []string{
		"cmd/api imports pkg/worker",
		"pkg/breaker has 0 package comments, want 1",
		"pkg/breaker imports pkg/pg",
		"pkg/queue has 2 package comments, want 1",
		"pkg/queue imports github.com/labstack/echo/v4, which only pkg/api may",
		"pkg/utils is not on the map",
	}
	got, err := violations(tree)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v\nwant %q", got, err, want)
	}
}

// pkg is a package as its files, without the tests, tell.
type pkg struct {
	comments int
	imports  []string
}

// violations lists what breaks the map, in order.
func violations(tree fs.FS) ([]string, error) {
	packages, err := parse(tree)
	if err != nil {
		return nil, err
	}
	var found []string
	for dir, p := range packages {
		if p.comments != 1 {
			found = append(found, fmt.Sprintf("%s has %d package comments, want 1", dir, p.comments))
		}
		if !onMap(dir) {
			found = append(found, dir+" is not on the map")
			continue
		}
		for _, imported := range p.imports {
			if why := refused(dir, imported); why != "" {
				found = append(found, dir+" imports "+why)
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}

func onMap(dir string) bool {
	_, isPackage := allowed[dir]
	_, isCommand := barred[dir]
	return isPackage || isCommand
}

// refused says what is wrong with an import by the package in dir; "" if nothing.
func refused(dir, imported string) string {
	if ours, ok := strings.CutPrefix(imported, module); ok {
		if mayImport(dir, ours) {
			return ""
		}
		return ours
	}
	for library, owner := range only {
		if dir != owner && (imported == library || strings.HasPrefix(imported, library+"/")) {
			return imported + ", which only " + owner + " may"
		}
	}
	return ""
}

func mayImport(dir, ours string) bool {
	if bars, isCommand := barred[dir]; isCommand {
		return !slices.Contains(bars, ours)
	}
	return slices.Contains(allowed[dir], ours)
}

// parse reads every package of the module. A folder with a go.mod of its own is another module.
func parse(tree fs.FS) (map[string]*pkg, error) {
	packages := map[string]*pkg{}
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return enter(tree, name)
		case path.Ext(name) == ".go" && !strings.HasSuffix(name, "_test.go"):
			dir := path.Dir(name)
			if packages[dir] == nil {
				packages[dir] = &pkg{}
			}
			return packages[dir].add(tree, name)
		}
		return nil
	})
	return packages, err
}

// enter returns fs.SkipDir for a folder that holds nothing of the module.
func enter(tree fs.FS, dir string) error {
	base := path.Base(dir)
	if dir != "." && strings.HasPrefix(base, ".") || base == "node_modules" || base == "testdata" {
		return fs.SkipDir
	}
	if _, err := fs.Stat(tree, path.Join(dir, "go.mod")); err == nil && dir != "." {
		return fs.SkipDir
	}
	return nil
}

// add reads one file of the package.
func (p *pkg) add(tree fs.FS, name string) error {
	source, err := fs.ReadFile(tree, name)
	if err != nil {
		return err
	}
	file, err := parser.ParseFile(token.NewFileSet(), name, source, parser.ImportsOnly|parser.ParseComments)
	if err != nil {
		return err
	}
	if file.Doc != nil && !ast.IsGenerated(file) {
		p.comments++
	}
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return err
		}
		p.imports = append(p.imports, imported)
	}
	return nil
}
