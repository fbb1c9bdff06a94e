package config

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/sluicedev/sluice/pkg/jobtype"
)

// Settings returns every setting: the variables of the environment, then the keys
// of the file.
func Settings() []Setting {
	all := append([]Setting{}, environment...)
	for _, group := range []struct {
		prefix string
		keys   []Setting
	}{
		{"", topKeys}, {"upstreams.<name>.", upstreamKeys}, {"types.<name>.", typeKeys}, {"types.<name>.backoff.", backoffKeys}, {"webhooks.<tenant>.", webhookKeys},
	} {
		for _, key := range group.keys {
			key.Name = group.prefix + key.Name
			if key.Of == "" {
				key.Of = both
			}
			all = append(all, key)
		}
	}
	return append(all, Setting{Name: "policies.<name>", Of: both, Allowed: fmt.Sprintf("text of at most %d bytes", jobtype.MaxPolicyBytes), Meaning: "a text that types can name as their policy"})
}

// Markdown is the table of all settings for the README.
func Markdown() string {
	var b strings.Builder
	b.WriteString("| name | of | default | allowed | meaning |\n| --- | --- | --- | --- | --- |\n")
	for _, s := range Settings() {
		fallback := s.Default
		if fallback != "" {
			fallback = "`" + fallback + "`"
		}
		name := "`" + s.Name + "`"
		if s.Secret {
			name += ", `" + s.Name + fileSuffix + "`"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", name, s.Of, fallback, s.Allowed, s.Meaning)
	}
	return b.String()
}

// Help is the list of the environment's settings for the --help of a process,
// "api" or "worker".
func Help(process string) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, s := range environment {
		if s.Of != both && s.Of != process {
			continue
		}
		fallback := ""
		if s.Default != "" {
			fallback = " (" + s.Default + ")"
		}
		fmt.Fprintf(w, "  %s\t%s%s\n", s.Name, s.Meaning, fallback)
	}
	w.Flush()
	b.WriteString("  NAME_FILE reads a secret from a file.\n")
	return b.String()
}
