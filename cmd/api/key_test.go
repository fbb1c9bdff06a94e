package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluicedev/sluice/pkg/key"
	"github.com/sluicedev/sluice/pkg/pg/pgtest"
)

// apiKey runs `api key` and gives what it said.
func apiKey(t *testing.T, database string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, log strings.Builder
	err = run(t.Context(), append([]string{"key"}, args...), []string{"DATABASE_URL=" + database}, &out, &log)
	return out.String(), log.String(), err
}

func mustKey(t *testing.T, database string, args ...string) (stdout, stderr string) {
	t.Helper()
	stdout, stderr, err := apiKey(t, database, args...)
	if err != nil {
		t.Fatalf("api key %v: %v", args, err)
	}
	return stdout, stderr
}

func TestAKeyFromItsMakingToItsEnd(t *testing.T) {
	t.Parallel()
	database := pgtest.URL(t)
	public, admin, stop := started(t, "DATABASE_URL="+database, "SLUICE_AUTH=required", "SLUICE_RATE_LIMIT=1000")
	status := func(address, text string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		if text != "" {
			r.Header.Set("Authorization", "Bearer "+text)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if text != "" && resp.StatusCode == http.StatusOK && resp.Header.Get("RateLimit-Policy") != `"key";q=1000;w=1` {
			t.Errorf("RateLimit-Policy: %q", resp.Header.Get("RateLimit-Policy"))
		}
		return resp.StatusCode
	}
	stdout, stderr := mustKey(t, database, "create", "-name", "the CRM, in Berlin", "-tenant", "acme", "-scopes", "read", "-expires", "90d")
	text := strings.TrimSuffix(stdout, "\n")
	id, secret, ok := key.Parse(text)
	if !ok {
		t.Fatalf("standard output has more than a key: %q", stdout)
	}
	for _, word := range []string{id, "acme", "the CRM, in Berlin", "read", "once", time.Now().UTC().Add(90 * 24 * time.Hour).Format("2006-01")} {
		if !strings.Contains(stderr, word) {
			t.Errorf("%q is not told: %s", word, stderr)
		}
	}
	for address, want := range map[string]int{public + "/api/ai/jobs": 401, public + "/metrics": 401, public + "/livez": 200, public + "/readyz": 200, admin + "/metrics": 200} {
		if got := status(address, ""); got != want {
			t.Errorf("without a key, %s: %d", address, got)
		}
	}
	if got := status(public+"/api/ai/jobs", text); got != http.StatusOK {
		t.Errorf("with the key: %d", got)
	}
	list, _ := mustKey(t, database, "list")
	asJSON, _ := mustKey(t, database, "list", "-json", "-tenant", "acme")
	for _, shown := range []string{stderr, list, asJSON} {
		if strings.Contains(shown, secret) || !strings.Contains(shown, id) {
			t.Errorf("tells the secret, or not the key: %s", shown)
		}
	}
	if _, said := mustKey(t, database, "revoke", id); !strings.Contains(said, "within 2s") {
		t.Errorf("revoked: %s", said)
	}
	for revoked := time.Now(); status(public+"/api/ai/jobs", text) != http.StatusUnauthorized; {
		if time.Since(revoked) > 30*time.Second {
			t.Fatal("the revoked key works")
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	list, _ = mustKey(t, database, "list")
	if fields := strings.Fields(strings.Split(list, "\n")[1]); fields[len(fields)-1] == "never" || !strings.Contains(list, "revoked") {
		t.Errorf("that it was used is not told: %s", list)
	}
}

func TestKeysAreListed(t *testing.T) {
	t.Parallel()
	database := pgtest.URL(t)
	none, _ := mustKey(t, database, "list", "-json")
	if none != "[]\n" {
		t.Errorf("no keys: %q", none)
	}
	first, _ := mustKey(t, database, "create", "-name", "a")
	second, _ := mustKey(t, database, "create", "-name", "b", "-tenant", "bolt", "-scopes", "operate, enqueue", "-expires", "2999-01-31T00:00:00Z")
	list, _ := mustKey(t, database, "list", "-json")
	var keys []key.Key
	if err := json.Unmarshal([]byte(list), &keys); err != nil || len(keys) != 2 {
		t.Fatalf("%v: %s", err, list)
	}
	if k := keys[0]; k.Tenant != "default" || k.Name != "a" || len(k.Scopes) != 2 || k.Scopes[0] != key.Enqueue || k.Scopes[1] != key.Read || k.State != key.Active || k.ExpiresAt != nil {
		t.Errorf("%+v", k)
	}
	if k := keys[1]; k.Tenant != "bolt" || k.Scopes[0] != key.Operate || k.ExpiresAt == nil || k.ExpiresAt.Year() != 2999 {
		t.Errorf("%+v", k)
	}
	// Two at once, one by its whole text, and the other's id.
	secondID, _, _ := key.Parse(strings.TrimSpace(second))
	mustKey(t, database, "revoke", strings.TrimSpace(first), secondID)
	list, _ = mustKey(t, database, "list")
	if lines := strings.Split(strings.TrimSpace(list), "\n"); len(lines) != 3 || !strings.HasPrefix(lines[0], "ID ") || strings.Count(list, "revoked") != 2 {
		t.Errorf("%s", list)
	}
	if list, _ := mustKey(t, database, "list", "-tenant", "none"); strings.Count(list, "\n") != 1 {
		t.Errorf("of nobody: %s", list)
	}
}

// What somebody wrote by SQL cannot turn a terminal's colours, or lines.
func TestAListIsSafeToPrint(t *testing.T) {
	t.Parallel()
	database := pgtest.URL(t)
	mustKey(t, database, "create", "-name", "a")
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), `update api_keys set name = E'\x1b[31m\n'`); err != nil {
		t.Fatal(err)
	}
	if list, _ := mustKey(t, database, "list"); strings.Contains(list, "\x1b") || strings.Count(list, "\n") != 2 {
		t.Errorf("%q", list)
	}
}

func TestKeyRefusals(t *testing.T) {
	t.Parallel()
	database := pgtest.URL(t)
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"unknown verb":        {[]string{"dance"}, `"dance"`},
		"no name":             {[]string{"create"}, "-name is required"},
		"unknown flag":        {[]string{"create", "-nome", "x"}, "-nome"},
		"a word too many":     {[]string{"create", "-name", "a", "b"}, `"b"`},
		"unknown scope":       {[]string{"create", "-name", "a", "-scopes", "root"}, `-scopes: "root"`},
		"no scope":            {[]string{"create", "-name", "a", "-scopes", ""}, "-scopes"},
		"no tenant":           {[]string{"create", "-name", "a", "-tenant", ""}, "tenant"},
		"an odd name":         {[]string{"create", "-name", "a\x1b"}, "name"},
		"expires never":       {[]string{"create", "-name", "a", "-expires", "never"}, "-expires"},
		"expires at once":     {[]string{"create", "-name", "a", "-expires", "0s"}, "-expires"},
		"expires before":      {[]string{"create", "-name", "a", "-expires", "-5m"}, "-expires"},
		"expires 0 days":      {[]string{"create", "-name", "a", "-expires", "0d"}, "-expires"},
		"expires in the past": {[]string{"create", "-name", "a", "-expires", "2020-01-01T00:00:00Z"}, "future"},
		"expires at zero":     {[]string{"create", "-name", "a", "-expires", "0001-01-01T00:00:00Z"}, "-expires"},
		"list of words":       {[]string{"list", "acme"}, `"acme"`},
		"revoke nothing":      {[]string{"revoke"}, "id"},
		"revoke nobody":       {[]string{"revoke", "none"}, "no such key"},
	} {
		stdout, _, err := apiKey(t, database, c.args...)
		if err == nil || !strings.Contains(err.Error(), c.want) || stdout != "" {
			t.Errorf("%s: %q, %v", name, stdout, err)
		}
	}
	if list, _ := mustKey(t, database, "list", "-json"); list != "[]\n" {
		t.Errorf("made: %s", list)
	}
	if err := run(t.Context(), []string{"key", "list"}, []string{"DATABASE_URL=" + pgtest.EmptyURL(t)}, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "api migrate") {
		t.Errorf("without a schema: %v", err)
	}
}

func TestKeyHelp(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{nil, {"help"}, {"-h"}, {"create", "-h"}, {"list", "-help"}, {"revoke", "--help"}} {
		stdout, _, err := apiKey(t, "", args...)
		if err != nil || !strings.Contains(stdout, "api key create") || !strings.Contains(stdout, "operate") {
			t.Errorf("%v: %v, %s", args, err, stdout)
		}
		if len(args) > 0 && args[0] == "create" && (!strings.Contains(stdout, "-expires") || !strings.Contains(stdout, "90d")) {
			t.Errorf("flags: %s", stdout)
		}
	}
}

// Whoever asks for keys and has none is told.
func TestWithoutAKeyAWarning(t *testing.T) {
	t.Parallel()
	logs, stderr := io.Pipe()
	database := pgtest.URL(t)
	go func() {
		_ = run(t.Context(), nil, []string{"DATABASE_URL=" + database, "SLUICE_AUTH=required", "PORT=0"}, io.Discard, stderr)
		stderr.Close()
	}()
	decoder := json.NewDecoder(logs)
	for warned := false; ; {
		var line struct{ Msg string }
		if err := decoder.Decode(&line); err != nil {
			t.Fatal(err)
		}
		warned = warned || strings.Contains(line.Msg, "api key create")
		if line.Msg == "listening" {
			if !warned {
				t.Error("no warning")
			}
			break
		}
	}
	go io.Copy(io.Discard, logs)
}
