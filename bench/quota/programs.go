package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// programs is a folder with Sluice's binaries, and a configuration in it.
type programs struct{ dir, config string }

const sluiceConfig = "types:\n  bench: {upstream: openai, model: " + model + ", policy: none}\n"

// parkedConfig adds a second upstream, whose jobs are of the type other.
const parkedConfig = sluiceConfig + "  other: {upstream: second, model: " + parkedModel + `, policy: none}
upstreams:
  second: {kind: openai, base_url: "%s", api_key_env: SECOND_API_KEY}
`

// parkedLine is what Sluice calls it.
const parkedLine = "second:" + parkedModel

// build makes the programs of this checkout, in a folder of their own. remove deletes it.
func build(ctx context.Context) (p programs, remove func() error, err error) {
	dir, err := os.MkdirTemp("", "sluice-bench-")
	if err != nil {
		return p, nil, err
	}
	remove = func() error { return os.RemoveAll(dir) }
	root, err := root(ctx)
	if err == nil {
		err = command(ctx, "go", "-C", root, "build", "-o", dir, "./cmd/api", "./cmd/worker")
	}
	if err == nil {
		p, err = programs{dir: dir}.configured("config", sluiceConfig)
	}
	if err != nil {
		return p, nil, errors.Join(err, remove())
	}
	return p, remove, nil
}

// configured are the same programs with this configuration, in a file of that name.
func (p programs) configured(name, config string) (programs, error) {
	p.config = filepath.Join(p.dir, name+".yaml")
	return p, os.WriteFile(p.config, []byte(config), 0o600)
}

// root is the folder of Sluice's own module.
func root(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/sluicedev/sluice").Output()
	if err != nil {
		return "", fmt.Errorf("where is Sluice's module? run this inside the bench folder: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// command runs a program to its end.
func command(ctx context.Context, name string, args ...string) error {
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}

// environ is all that Sluice's programs are told; nothing of ours reaches them.
func (p programs) environ(databaseURL string, more ...string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "DATABASE_URL=" + databaseURL,
		"SLUICE_CONFIG=" + p.config}, more...)
}

// migrate makes Sluice's tables.
func (p programs) migrate(ctx context.Context, databaseURL string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(p.dir, "api"), "migrate")
	cmd.Env = p.environ(databaseURL)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("api migrate: %w\n%s", err, out)
	}
	return nil
}
