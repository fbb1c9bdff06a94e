package main

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// The peers that run on Node.js, their versions, and the Node.js that they need: the machine's own may be too old.
const (
	graphileVersion = "0.18.0"
	bossVersion     = "12.38.0"
	nodeVersion     = "24.21.0"
)

//go:embed peers
var peerFiles embed.FS

// nodePeer is a queue on Postgres for Node.js.
type nodePeer struct {
	title string
	left  string // leftSQL
	home  *nodeHome
}

// nodeHome is a folder with the peers' programs, once they were fetched.
type nodeHome struct{ dir, node string }

func (b *bench) nodePeers() []nodePeer {
	return []nodePeer{
		{"graphile-worker", `select exists (select from graphile_worker._private_jobs limit $1)`, b.node},
		{"pg-boss", `select exists (select from (select state from pgboss.job where name = 'work' limit $1) j where state <> 'completed')`, b.node},
	}
}

func (p nodePeer) name() string { return p.title }

func (nodePeer) portion(jobs int) int { return jobs }

func (p nodePeer) leftSQL() string { return p.left }

// nodeSpec is what a process of a peer is told.
type nodeSpec struct {
	URL    string
	Part   string // schema, fill or work
	Result string
}

func (p nodePeer) command(spec nodeSpec) (*exec.Cmd, error) {
	text, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(p.home.node, filepath.Join(p.home.dir, p.title+".mjs"))
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), specEnv + "=" + string(text)}
	return cmd, nil
}

func (p nodePeer) schema(ctx context.Context, url string) error {
	return p.run(ctx, nodeSpec{URL: url, Part: "schema"}, strings.NewReader(""))
}

func (p nodePeer) fill(ctx context.Context, url string, l load) error {
	var lines bytes.Buffer
	for i := range l.jobs {
		fmt.Fprintln(&lines, payload(i, l.payload))
	}
	return p.run(ctx, nodeSpec{URL: url, Part: "fill"}, &lines)
}

func (p nodePeer) worker(url string, l load) (*exec.Cmd, error) {
	return p.command(nodeSpec{URL: url, Part: "work", Result: text(0, l.result)})
}

// run runs a part to its end.
func (p nodePeer) run(ctx context.Context, spec nodeSpec, in io.Reader) error {
	cmd, err := p.command(spec)
	if err != nil {
		return err
	}
	cmd.Stdin = in
	if out, err := cmd.CombinedOutput(); err != nil || ctx.Err() != nil {
		return fmt.Errorf("%s, %s: %w\n%s", p.title, spec.Part, err, out)
	}
	return nil
}

// settle fetches the peers from npm, once for all runs (210 MB), and puts our programs for them beside.
func (h *nodeHome) settle(ctx context.Context, dir string) error {
	packages, err := installPeers(ctx)
	if err != nil {
		return err
	}
	if err := os.CopyFS(dir, peerFiles); err != nil {
		return err
	}
	h.dir = filepath.Join(dir, "peers")
	h.node = filepath.Join(packages, nodePackage(), "bin", "node")
	return os.Symlink(packages, filepath.Join(h.dir, "node_modules"))
}

// nodePackage is npm's package with Node.js itself, for this system.
func nodePackage() string {
	arch := map[string]string{"amd64": "x64", "arm64": "arm64"}[runtime.GOARCH]
	return "node-" + runtime.GOOS + "-" + arch
}

// npmTries is how often npm is asked for all of it: it does not go on where an answer breaks off.
const npmTries = 3

// installPeers returns the folder of npm's packages, and fills it first if it has to, whole or not at all.
func installPeers(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	home := filepath.Join(cache, "sluice", strings.Join([]string{"bench-peers", graphileVersion, bossVersion, nodeVersion}, "-"))
	packages := filepath.Join(home, "node_modules")
	if _, err := os.Stat(packages); err == nil {
		return packages, nil
	}
	if err := os.MkdirAll(filepath.Dir(home), 0o755); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(home), "install-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	for range npmTries {
		if err = npmInstall(ctx, tmp); err == nil || ctx.Err() != nil || errors.Is(err, exec.ErrNotFound) {
			break
		}
	}
	if err != nil {
		return "", err
	}
	if err := os.Rename(tmp, home); err != nil {
		if _, there := os.Stat(packages); there != nil { // nobody else was faster
			return "", err
		}
	}
	return packages, nil
}

// npmInstall puts the packages below a folder.
func npmInstall(ctx context.Context, dir string) error {
	npm := exec.CommandContext(ctx, "npm", "install", "--prefix", dir, "--no-save", "--no-audit", "--no-fund", "--ignore-scripts",
		"graphile-worker@"+graphileVersion, "pg-boss@"+bossVersion, nodePackage()+"@"+nodeVersion)
	npm.Dir = dir
	if out, err := npm.CombinedOutput(); err != nil {
		return fmt.Errorf("npm install: %w\n%s", err, bytes.TrimSpace(out))
	}
	return nil
}
