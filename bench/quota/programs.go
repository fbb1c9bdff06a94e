package main

import (
	"context"
	"os"
	"path/filepath"

	"github.com/sluicedev/sluice/bench/rig"
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

// configured are the same programs with this configuration, in a file of that name.
func (p programs) configured(name, config string) (programs, error) {
	p.config = filepath.Join(p.dir, name+".yaml")
	return p, os.WriteFile(p.config, []byte(config), 0o600)
}

// environ is all that Sluice's programs are told.
func (p programs) environ(databaseURL string, more ...string) []string {
	return rig.Environ(databaseURL, append(more, "SLUICE_CONFIG="+p.config)...)
}

// migrate makes Sluice's tables.
func (p programs) migrate(ctx context.Context, databaseURL string) error {
	return rig.Migrate(ctx, p.dir, databaseURL, "SLUICE_CONFIG="+p.config)
}
