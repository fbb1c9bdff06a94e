package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Build makes programs of this checkout ("./cmd/api"), in a folder of their own. remove deletes it.
func Build(ctx context.Context, programs ...string) (dir string, remove func() error, err error) {
	if dir, err = os.MkdirTemp("", "sluice-bench-"); err != nil {
		return "", nil, err
	}
	remove = func() error { return os.RemoveAll(dir) }
	root, err := Root(ctx)
	if err == nil {
		err = Command(ctx, "go", append([]string{"-C", root, "build", "-o", dir}, programs...)...)
	}
	if err != nil {
		return "", nil, errors.Join(err, remove())
	}
	return dir, remove, nil
}

// Root is the folder of Sluice's own module.
func Root(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/sluicedev/sluice").Output()
	if err != nil {
		return "", fmt.Errorf("where is Sluice's module? run this inside the bench folder: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// Command runs a program to its end.
func Command(ctx context.Context, name string, args ...string) error {
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}

// Environ is what a program of Sluice is told; nothing else of ours reaches it.
func Environ(databaseURL string, more ...string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "DATABASE_URL=" + databaseURL}, more...)
}

// Migrate makes Sluice's tables with the api program in dir.
func Migrate(ctx context.Context, dir, databaseURL string, more ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(dir, "api"), "migrate")
	cmd.Env = Environ(databaseURL, more...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("api migrate: %w\n%s", err, out)
	}
	return nil
}
