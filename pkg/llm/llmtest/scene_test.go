package llmtest

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

func TestPagesOfTheirOriginSwitchScenes(t *testing.T) {
	t.Parallel()
	const page = "http://127.0.0.1:3000"
	s := Start(t, WithScript(Script{RPM: 240, LatencyMS: 5}), ServePages(page))
	ask := func(method, origin, body string) (*http.Response, Scene) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, s.URL()+"/control/mode", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Origin", origin)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var scene Scene
		_ = json.NewDecoder(resp.Body).Decode(&scene) // a preflight has no body, and a refusal another one
		return resp, scene
	}
	for _, c := range []struct {
		mode string
		want Script
	}{
		{"rate-limited", Script{Mode: "healthy", RPM: sceneRPM, LatencyMS: 5}},
		{"down", Script{Mode: "down", RPM: 240, LatencyMS: 5}},
		{"out-of-credit", Script{Mode: "out_of_credit", RPM: 240, LatencyMS: 5}},
		{"healthy", Script{Mode: "healthy", RPM: 240, LatencyMS: 5}},
	} {
		resp, scene := ask("PUT", page, `{"mode":"`+c.mode+`"}`)
		if resp.StatusCode != http.StatusOK || scene.Mode != c.mode || s.Script() != c.want {
			t.Errorf("%s: %d, %+v, %+v", c.mode, resp.StatusCode, scene, s.Script())
		}
		if resp, now := ask("GET", page, ""); now.Mode != c.mode || resp.Header.Get("Access-Control-Allow-Origin") != page {
			t.Errorf("%s: then it is %+v, %v", c.mode, now, resp.Header)
		}
	}
	if resp, _ := ask("OPTIONS", page, ""); resp.StatusCode != http.StatusNoContent || !strings.Contains(resp.Header.Get("Access-Control-Allow-Methods"), "PUT") {
		t.Errorf("preflight: %d %v", resp.StatusCode, resp.Header)
	}
	for _, origin := range []string{"", "null", "http://evil.example", page + "0", "http://localhost:3000"} {
		resp, _ := ask("PUT", origin, `{"mode":"down"}`)
		if resp.StatusCode != http.StatusForbidden || resp.Header.Get("Access-Control-Allow-Origin") != "" || s.Script().Mode != "healthy" {
			t.Errorf("from %q: %d %v, %+v", origin, resp.StatusCode, resp.Header, s.Script())
		}
	}
	for _, body := range []string{`{"mode":"sulking"}`, `{`, ``} {
		if resp, _ := ask("PUT", page, body); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%q: %d", body, resp.StatusCode)
		}
	}
}
