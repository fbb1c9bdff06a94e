package pkg_test

import (
	"errors"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

var (
	limitRow   = regexp.MustCompile("(?m)^\\| ([^|]+) \\| ([^|]+) \\| `([a-z/]+)\\.(\\w+)` \\| [^|]+ \\| `(\\w+)` \\|$")
	limitValue = regexp.MustCompile(`^([\d,]+)(?: ([A-Za-z]+))?$`)
)

// units of the values in docs/limits.md; any other word is of things that are counted.
var units = map[string]int64{
	"KiB": 1 << 10, "MiB": 1 << 20,
	"ms": int64(time.Millisecond), "s": int64(time.Second), "h": int64(time.Hour), "days": int64(24 * time.Hour),
}

func TestLimitsAreWhatTheCodeSays(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../docs/limits.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := limitRow.FindAllStringSubmatch(string(doc), -1)
	const others = 4*2 + 2 // the heads of four tables, and two settings
	if n := strings.Count(string(doc), "\n| ") - others; len(rows) != n {
		t.Errorf("%d of %d rows can be read", len(rows), n)
	}
	source, tests := &constants{fset: token.NewFileSet(), known: map[string]*types.Package{}}, testNames(t)
	for _, row := range rows {
		limit, value, pkg, name, test := row[1], row[2], row[3], row[4], row[5]
		m := limitValue.FindStringSubmatch(value)
		if m == nil {
			t.Errorf("%s: %q is no value", limit, value)
			continue
		}
		want, err := strconv.ParseInt(strings.ReplaceAll(m[1], ",", ""), 10, 64)
		if err != nil {
			t.Errorf("%s: %v", limit, err)
		}
		if unit, ok := units[m[2]]; ok {
			want *= unit
		}
		if got, err := source.value(pkg, name); err != nil || got != want {
			t.Errorf("%s: docs/limits.md says %s (%d), and %s.%s is %d (%v)", limit, value, want, pkg, name, got, err)
		}
		if !tests[test] {
			t.Errorf("%s: there is no %s", limit, test)
		}
	}
}

// testNames are the tests of all packages.
func testNames(t *testing.T) map[string]bool {
	names := map[string]bool{}
	for _, pattern := range []string{"../*/*_test.go", "../*/*/*_test.go", "../*/*/*/*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllStringSubmatch(string(text), -1) {
				names[m[1]] = true
			}
		}
	}
	return names
}

// constants works out our constants from the source, unexported ones too. Of other modules it knows the units of time.
type constants struct {
	fset  *token.FileSet
	known map[string]*types.Package
}

const timeSource = `package time
type Duration int64
const (
	Nanosecond Duration = 1
	Microsecond = 1000 * Nanosecond
	Millisecond = 1000 * Microsecond
	Second = 1000 * Millisecond
	Minute = 60 * Second
	Hour = 60 * Minute
)`

func (c *constants) value(pkg, name string) (int64, error) {
	p, err := c.Import(module + pkg)
	if err != nil {
		return 0, err
	}
	found, ok := p.Scope().Lookup(name).(*types.Const)
	if !ok {
		return 0, errors.New("is no constant")
	}
	n, exact := constant.Int64Val(constant.ToInt(found.Val()))
	if !exact {
		return 0, errors.New("is no whole number")
	}
	return n, nil
}

// Import makes it the importer of the packages that it checks.
func (c *constants) Import(path string) (*types.Package, error) {
	if p := c.known[path]; p != nil {
		return p, nil
	}
	var files []*ast.File
	parse := func(name string, source any) error {
		file, err := parser.ParseFile(c.fset, name, source, parser.SkipObjectResolution)
		files = append(files, file)
		return err
	}
	dir, ours := strings.CutPrefix(path, module)
	switch {
	case path == "time":
		if err := parse("time.go", timeSource); err != nil {
			return nil, err
		}
	case !ours:
		return nil, errors.New("is not looked at")
	default:
		names, err := filepath.Glob("../" + dir + "/*.go")
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			if err := parse(name, nil); err != nil {
				return nil, err
			}
		}
	}
	cfg := types.Config{Importer: c, Error: func(error) {}, IgnoreFuncBodies: true} // what needs other modules is no constant
	p, _ := cfg.Check(path, c.fset, files, nil)
	c.known[path] = p
	return p, nil
}
