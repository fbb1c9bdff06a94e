package config_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluicedev/sluice/pkg/config"
	"github.com/sluicedev/sluice/pkg/jobtype"
)

const (
	database = "postgres://user:hunter2@localhost:5432/sluice?search_path=jobs"
	key      = "sk-topsecret"
	secretA  = "whsec_dG9wc2VjcmV0LXRvcHNlY3JldC10b3BB"
	secretB  = "whsec_dG9wc2VjcmV0LXRvcHNlY3JldC10b3BC"
)

// with returns the least that both processes need, and more.
func with(pairs ...string) config.Env {
	env := config.Env{"DATABASE_URL": database, "OPENAI_API_KEY": key}
	for i := 0; i < len(pairs); i += 2 {
		env[pairs[i]] = pairs[i+1]
	}
	return env
}

func without(name string, pairs ...string) config.Env {
	env := with(pairs...)
	delete(env, name)
	return env
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// mistakes returns what err lists, and makes sure that it shows no secret.
func mistakes(t *testing.T, err error) []string {
	t.Helper()
	if err == nil {
		return nil
	}
	var e *config.Error
	if !errors.As(err, &e) {
		t.Fatalf("%v is no *config.Error", err)
	}
	for _, secret := range []string{"hunter2", "topsecret", "dG9wc2VjcmV0"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("a secret is shown: %v", err)
		}
	}
	for _, m := range e.Mistakes {
		if strings.Contains(m, "\n") {
			t.Errorf("a mistake of more than a line: %q", m)
		}
	}
	return e.Mistakes
}

// wantMistake makes sure that there is exactly one mistake, which contains all of
// the parts.
func wantMistake(t *testing.T, err error, parts ...string) {
	t.Helper()
	got := mistakes(t, err)
	if len(got) != 1 {
		t.Fatalf("mistakes %q, want one with %q", got, parts)
	}
	for _, part := range parts {
		if !strings.Contains(got[0], part) {
			t.Errorf("mistake %q lacks %q", got[0], part)
		}
	}
}

func TestDefaultsOfTheAPI(t *testing.T) {
	t.Parallel()
	cfg, err := config.API(config.Env{"DATABASE_URL": database})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Host != "127.0.0.1" || cfg.Port != 3000 || cfg.Auth != config.AuthOff || cfg.CORSOrigins != nil || cfg.AdminAddr != "" || cfg.TypesVersion != 0 {
		t.Errorf("%+v", cfg)
	}
	if cfg.DatabaseURL.Reveal() != database || cfg.DirectDatabaseURL.Reveal() != database {
		t.Errorf("databases %q and %q", cfg.DatabaseURL.Reveal(), cfg.DirectDatabaseURL.Reveal())
	}
	var names []string
	for _, typ := range cfg.Types.All() {
		names = append(names, typ.Name)
		if typ.Model != "gpt-5" || typ.Policy != jobtype.SelfDiagnostic() || typ.Request != nil {
			t.Errorf("%+v", typ)
		}
	}
	if !slices.Equal(names, []string{"autopoietic.tick", "diary.entry", "kb.ingest"}) {
		t.Errorf("types %v", names)
	}
}

func TestDefaultsOfAWorker(t *testing.T) {
	t.Parallel()
	cfg, err := config.Worker(with())
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Concurrency != 100 || cfg.DeathAfter != 30*time.Second || cfg.DrainLimit != 25*time.Second ||
		cfg.HoldProbeInterval != 2*time.Minute || cfg.UpstreamShare != 0 || cfg.WebhookSecrets != "" || cfg.WebhookHosts != nil || cfg.WebhookNetworks != nil {
		t.Errorf("%+v", cfg)
	}
	want := config.Upstream{Name: "openai", Kind: "openai", APIKeyEnv: "OPENAI_API_KEY", APIKey: key}
	if len(cfg.Upstreams) != 1 || cfg.Upstreams["openai"] != want {
		t.Errorf("upstreams %+v", cfg.Upstreams)
	}
}

func TestValuesThatAreSet(t *testing.T) {
	t.Parallel()
	api, err := config.API(with("PORT", "0", "SLUICE_HOST", "0.0.0.0", "SLUICE_AUTH", "required", "SLUICE_ADMIN_ADDR", ":9090",
		"SLUICE_CORS_ORIGINS", "https://a.example, http://localhost:5173", "SLUICE_DIRECT_DATABASE_URL", "host=db user=u", "OPENAI_MODEL", "gpt-6", "SLUICE_MAX_QUEUED", "100000000", "SLUICE_RATE_LIMIT", "50"))
	if err != nil {
		t.Fatal(err)
	}
	if api.Port != 0 || api.Host != "0.0.0.0" || api.Auth != config.AuthRequired || api.AdminAddr != ":9090" ||
		!slices.Equal(api.CORSOrigins, []string{"https://a.example", "http://localhost:5173"}) || api.DirectDatabaseURL.Reveal() != "host=db user=u" || api.MaxQueued != 100_000_000 || api.RateLimit != 50 {
		t.Errorf("%+v", api)
	}
	if typ, _ := api.Types.Lookup("kb.ingest"); typ.Model != "gpt-6" {
		t.Errorf("model %s", typ.Model)
	}
	worker, err := config.Worker(with("SLUICE_CONCURRENCY", "10000", "SLUICE_DEATH_AFTER", "3s", "SLUICE_DRAIN_LIMIT", "0s",
		"SLUICE_HOLD_PROBE_INTERVAL", "1s", "SLUICE_UPSTREAM_SHARE", "0.25",
		"SLUICE_WEBHOOK_SECRET", secretA+", "+secretB, "SLUICE_WEBHOOK_HOSTS", "*.example.com, [::1]:8080,*:8443", "SLUICE_WEBHOOK_NETWORKS", "10.1.0.0/16, fd00::/8",
		"OPENAI_BASE_URL", "http://127.0.0.1:9/v1"))
	if err != nil {
		t.Fatal(err)
	}
	if worker.Concurrency != 10_000 || worker.DeathAfter != 3*time.Second || worker.DrainLimit != 0 || worker.HoldProbeInterval != time.Second ||
		worker.UpstreamShare != 0.25 || worker.WebhookSecrets.Reveal() != secretA+", "+secretB ||
		!slices.Equal(worker.WebhookHosts, []string{"*.example.com", "[::1]:8080", "*:8443"}) || !slices.Equal(worker.WebhookNetworks, []string{"10.1.0.0/16", "fd00::/8"}) || worker.Upstreams["openai"].BaseURL != "http://127.0.0.1:9/v1" {
		t.Errorf("%+v", worker)
	}
}

func TestEmptyIsNotSet(t *testing.T) {
	t.Parallel()
	cfg, err := config.API(with("PORT", "", "SLUICE_HOST", "", "SLUICE_AUTH", "", "SLUICE_CONFIG", "", "OPENAI_MODEL", "", "SLUICE_CONCURRENCY", ""))
	if err != nil || cfg.Port != 3000 || cfg.Host != "127.0.0.1" {
		t.Errorf("%+v, %v", cfg, err)
	}
}

func TestMistakesOfAValue(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, value, allowed string }{
		{"PORT", "65536", "0 to 65535"},
		{"PORT", "http", "0 to 65535"},
		{"SLUICE_HOST", "127.0.0.1:3000", "without a port"},
		{"SLUICE_AUTH", "on", "required or off"},
		{"SLUICE_CORS_ORIGINS", "*", "* is not one"},
		{"SLUICE_CORS_ORIGINS", "https://*.a.example", "is not one"},
		{"SLUICE_CORS_ORIGINS", "https://app*", "is not one"},
		{"SLUICE_CORS_ORIGINS", "https://a.example/", "without a path"},
		{"SLUICE_CORS_ORIGINS", "https://a.example,", "origins"},
		{"SLUICE_CORS_ORIGINS", "a.example", "origins"},
		{"SLUICE_ADMIN_ADDR", "9090", "host:port"},
		{"SLUICE_ADMIN_ADDR", "127.0.0.1:99999", "host:port"},
		{"SLUICE_CONCURRENCY", "0", "1 to 10000"},
		{"SLUICE_CONCURRENCY", "10001", "1 to 10000"},
		{"SLUICE_CONCURRENCY", "many", "1 to 10000"},
		{"SLUICE_DEATH_AFTER", "2s", "3s to 10m"},
		{"SLUICE_DEATH_AFTER", "11m", "3s to 10m"},
		{"SLUICE_DEATH_AFTER", "30", "a duration"},
		{"SLUICE_DRAIN_LIMIT", "-1s", "0s to 1h"},
		{"SLUICE_HOLD_PROBE_INTERVAL", "25h", "1s to 24h"},
		{"SLUICE_UPSTREAM_SHARE", "1.5", "0.01 to 1, or 0"},
		{"SLUICE_UPSTREAM_SHARE", "NaN", "0.01 to 1, or 0"},
		{"SLUICE_WEBHOOK_HOSTS", "https://hooks.example.com", "names, *.names or *"},
		{"SLUICE_WEBHOOK_HOSTS", "hooks.example.com:0", "with a port"},
		{"SLUICE_WEBHOOK_HOSTS", "hooks.*.com", "names"},
		{"SLUICE_WEBHOOK_NETWORKS", "10.0.0.1", "networks such as"},
		{"SLUICE_CONFIG", "/does/not/exist.yaml", "no such file"},
		{"OPENAI_MODEL", "gpt 5", "a model's name"},
	} {
		t.Run(tt.name+"="+tt.value, func(t *testing.T) {
			t.Parallel()
			_, err := config.API(with(tt.name, tt.value))
			wantMistake(t, err, tt.name+": ", `"`+tt.value+`"`, tt.allowed)
		})
	}
}

// A worker reports a wrong SLUICE_ value of the API too, but not a PORT that a
// platform set for someone else.
func TestMistakesOfTheOtherProcess(t *testing.T) {
	t.Parallel()
	_, err := config.Worker(with("SLUICE_AUTH", "on"))
	wantMistake(t, err, "SLUICE_AUTH")
	_, err = config.Worker(with("PORT", "http", "SLUICE_HOST", "0.0.0.0"))
	if err != nil {
		t.Error(err)
	}
	_, err = config.API(with("OPENAI_BASE_URL", "nonsense", "OPENAI_API_KEY", "a b"))
	if err != nil {
		t.Error(err)
	}
}

func TestAllMistakesAtOnce(t *testing.T) {
	t.Parallel()
	file := write(t, "sluice.yaml", "versoin: 1\ntypes:\n  chat: {priority: 0}\n")
	_, err := config.Worker(config.Env{
		"DATABASE_URL": "mysql://root:hunter2@db", "OPENAI_API_KEY": "sk-topsecret\n", "OPENAI_BASE_URL": "ftp://u:hunter2@x", "SLUICE_CONCURRENCY": "0",
		"SLUICE_DEATH_AFTER": "1h", "SLUICE_TYPO": "1", "SLUICE_CONFIG": file,
	})
	got := mistakes(t, err)
	for i, part := range []string{
		"DATABASE_URL: must be a PostgreSQL URL", `SLUICE_CONCURRENCY: is "0"`, `SLUICE_DEATH_AFTER: is "1h"`,
		file + ":1: versoin: is not a key", file + ":3: types.chat.priority: is 0, must be 1 to 10", "SLUICE_TYPO: is not a setting",
		"OPENAI_BASE_URL: is \"ftp://[secret]@x\"", "OPENAI_API_KEY: must be one line",
	} {
		if i >= len(got) || !strings.HasPrefix(got[i], part) {
			t.Errorf("mistake %d lacks %q:\n%v", i, part, err)
		}
	}
	if len(got) != 8 || !strings.HasPrefix(err.Error(), "8 mistakes in the configuration:\n") {
		t.Errorf("%v", err)
	}
}

func TestAuthMustBeSetWhereOthersCanReachTheAPI(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"127.0.0.1", "127.8.8.8", "localhost", "::1"} {
		if cfg, err := config.API(with("SLUICE_HOST", host)); err != nil || cfg.Auth != config.AuthOff {
			t.Errorf("on %s: %q, %v", host, cfg.Auth, err)
		}
	}
	for _, host := range []string{"0.0.0.0", "::", "10.0.0.1", "sluice.internal"} {
		_, err := config.API(with("SLUICE_HOST", host))
		wantMistake(t, err, "SLUICE_AUTH: is not set", host, "set it to required, or to off")
		if cfg, err := config.API(with("SLUICE_HOST", host, "SLUICE_AUTH", "off")); err != nil || cfg.Auth != config.AuthOff {
			t.Errorf("off on %s: %q, %v", host, cfg.Auth, err)
		}
	}
}

func TestARateLimitNeedsKeys(t *testing.T) {
	t.Parallel()
	for _, environ := range [][]string{{"SLUICE_RATE_LIMIT", "5"}, {"SLUICE_RATE_LIMIT", "5", "SLUICE_AUTH", "off"}} {
		_, err := config.API(with(environ...))
		wantMistake(t, err, "SLUICE_RATE_LIMIT", "SLUICE_AUTH to required")
	}
	_, err := config.API(with("SLUICE_RATE_LIMIT", "100001", "SLUICE_AUTH", "required"))
	wantMistake(t, err, "SLUICE_RATE_LIMIT", "0 to 100000")
	if cfg, err := config.API(with("SLUICE_RATE_LIMIT", "0")); err != nil || cfg.RateLimit != 0 {
		t.Errorf("%+v, %v", cfg, err)
	}
}

func TestOnlyASimulatorOnThisMachineIsOne(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"https://127.0.0.1:4000", "http://10.0.0.1:4000", "http://127.0.0.1:4000/", "http://simulator", "http://127.0.0.1.evil.example", "http://u@127.0.0.1", "127.0.0.1:4000"} {
		_, err := config.API(with("SLUICE_DEMO_SIMULATOR", url))
		wantMistake(t, err, "SLUICE_DEMO_SIMULATOR", "loopback")
	}
	if cfg, err := config.API(with("SLUICE_DEMO_SIMULATOR", "http://127.0.0.1:4000")); err != nil || cfg.DemoSimulator != "http://127.0.0.1:4000" {
		t.Errorf("the demo's simulator: %q, %v", cfg.DemoSimulator, err)
	}
}

func TestRequired(t *testing.T) {
	t.Parallel()
	_, err := config.API(config.Env{})
	wantMistake(t, err, "DATABASE_URL: is not set", "postgres://")
	_, err = config.Worker(without("OPENAI_API_KEY"))
	wantMistake(t, err, "OPENAI_API_KEY: is not set", "type autopoietic.tick uses the upstream openai", "OPENAI_API_KEY_FILE")
}

func TestALoopbackUpstreamNeedsNoKey(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"http://127.0.0.1:8080/v1", "http://localhost/v1", "http://[::1]:1/v1"} {
		cfg, err := config.Worker(without("OPENAI_API_KEY", "OPENAI_BASE_URL", base))
		if err != nil || cfg.Upstreams["openai"].APIKey == "" {
			t.Errorf("%s: key %q, %v", base, cfg.Upstreams["openai"].APIKey.Reveal(), err)
		}
	}
	_, err := config.Worker(without("OPENAI_API_KEY", "OPENAI_BASE_URL", "http://127.0.0.1.example/v1"))
	wantMistake(t, err, "OPENAI_API_KEY")
}

func TestSecretsFromFiles(t *testing.T) {
	t.Parallel()
	url, openai := write(t, "url", database+"\n"), write(t, "key", key+"\r\n")
	cfg, err := config.Worker(config.Env{"DATABASE_URL_FILE": url, "OPENAI_API_KEY_FILE": openai, "SLUICE_DIRECT_DATABASE_URL_FILE": url})
	if err != nil || cfg.DatabaseURL.Reveal() != database || cfg.DirectDatabaseURL.Reveal() != database || cfg.Upstreams["openai"].APIKey.Reveal() != key {
		t.Errorf("%q, %q, %v", cfg.DatabaseURL.Reveal(), cfg.Upstreams["openai"].APIKey.Reveal(), err)
	}
	_, err = config.Worker(with("DATABASE_URL_FILE", url))
	wantMistake(t, err, "DATABASE_URL: is set and so is DATABASE_URL_FILE")
	_, err = config.Worker(without("OPENAI_API_KEY", "OPENAI_API_KEY_FILE", "/does/not/exist"))
	wantMistake(t, err, "OPENAI_API_KEY_FILE", "/does/not/exist", "no such file")
	_, err = config.Worker(without("DATABASE_URL", "DATABASE_URL_FILE", write(t, "empty", "\n")))
	wantMistake(t, err, "DATABASE_URL_FILE", "empty")
	largest := database + "?application_name="
	largest += strings.Repeat("x", 64<<10-len(largest))
	if _, err := config.Worker(without("DATABASE_URL", "DATABASE_URL_FILE", write(t, "largest", largest))); err != nil {
		t.Error(err)
	}
	_, err = config.Worker(without("DATABASE_URL", "DATABASE_URL_FILE", write(t, "huge", largest+"x")))
	wantMistake(t, err, "DATABASE_URL_FILE", "larger than")
}

// Of a long value so much is shown as it takes to recognise it, in whole characters.
func TestLongValuesAreShortened(t *testing.T) {
	t.Parallel()
	_, err := config.API(with("PORT", "x"+strings.Repeat("é", 100)))
	wantMistake(t, err, `PORT: is "x`+strings.Repeat("é", 49)+`…", must be`)
}

func TestSecretsAreNeverShown(t *testing.T) {
	t.Parallel()
	cfg, err := config.Worker(with())
	if err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, printed := range []string{fmt.Sprintf("%v", cfg), fmt.Sprintf("%+v", cfg), fmt.Sprintf("%#v", cfg), fmt.Sprintf("%s %q %x", cfg.DatabaseURL, cfg.DatabaseURL, cfg.DatabaseURL), string(asJSON)} {
		if strings.Contains(printed, "hunter2") || strings.Contains(printed, "topsecret") {
			t.Errorf("a secret is shown: %s", printed)
		}
	}
}

func TestUnknownNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"SLUICE_CONCURENCY", "SLUICE_", "SLUICE_AUTH_FILE", "SLUICE_SERVICE", "SLUICE_REPORT_X"} {
		_, err := config.API(with(name, "1"))
		wantMistake(t, err, name+": is not a setting", "SLUICE_CONCURRENCY")
	}
}

func TestNamesOfOthersAreIgnored(t *testing.T) {
	t.Parallel()
	env := with(
		"SLUICE_SERVICE_HOST", "10.0.0.1", "SLUICE_SERVICE_PORT", "3000", "SLUICE_SERVICE_PORT_HTTP", "3000",
		"SLUICE_PORT", "tcp://10.0.0.1:3000", "SLUICE_PORT_3000_TCP", "tcp://10.0.0.1:3000", "SLUICE_PORT_3000_TCP_ADDR", "10.0.0.1",
		"SLUICE_API_SERVICE_HOST", "10.0.0.1", "SLUICE_API_SERVICE_PORT_HTTP", "3000", "SLUICE_API_PORT", "tcp://10.0.0.1:3000",
		"SLUICE_API_PORT_3000_TCP_PROTO", "tcp", "SLUICE_TEST_DATABASE_URL", "x", "SLUICETYPO", "1", "PATH", "/bin")
	if _, err := config.API(env); err != nil {
		t.Error(err)
	}
}

func TestEnviron(t *testing.T) {
	t.Parallel()
	env := config.Environ([]string{"A=1", "B=x=y", "C=", "junk"})
	if len(env) != 3 || env["A"] != "1" || env["B"] != "x=y" {
		t.Errorf("%v", env)
	}
}

func TestTables(t *testing.T) {
	t.Parallel()
	table := config.Markdown()
	for _, part := range []string{
		"| `DATABASE_URL`, `DATABASE_URL_FILE` | both |", "| `SLUICE_CONCURRENCY` | worker | `100` | 1 to 10000 |",
		"| `SLUICE_DEATH_AFTER` | worker | `30s` | a duration of 3s to 10m |", "| `types.<name>.priority` | both | `5` | 1 to 10 |",
	} {
		if !strings.Contains(table, part) {
			t.Errorf("the table lacks %q:\n%s", part, table)
		}
	}
	for _, s := range config.Settings() {
		if s.Allowed == "" || s.Meaning == "" || s.Of == "" || strings.ContainsAny(s.Meaning+s.Allowed, "|\n") {
			t.Errorf("%+v cannot stand in the table", s)
		}
	}
	if help := config.Help("worker"); !strings.Contains(help, "SLUICE_CONCURRENCY") || strings.Contains(help, "SLUICE_CORS_ORIGINS") {
		t.Errorf("help of the worker:\n%s", help)
	}
}
