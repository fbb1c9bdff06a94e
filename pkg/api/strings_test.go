package api

import (
	"bufio"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/sluicedev/sluice/pkg/pg/pgtest"
)

// What is stored comes back as it was sent, or is refused: nothing on the way reads it as SQL, a format or a command.
func TestHostileTextIsOnlyText(t *testing.T) {
	t.Parallel()
	s := open(t)
	for _, text := range append(hostile, strings.Repeat("k", 255), "a' or '1'='1", "); delete from jobs; --", "\\'; --", "E'\\x00'", "a\tb", "a\u2028b", "\u200f\u202eabc", "\x7f\u0085") {
		quoted, err := json.Marshal(text)
		must(t, err)
		body := `{"type":"diary.entry","payload":{"input":"x","note":` + string(quoted) + `,` + string(quoted) + `:1},"idempotency_key":` + string(quoted) + `}`
		before := s.jobs()
		a := s.do("POST", "/api/ai/enqueue/batch", "["+body+"]")
		if a.StatusCode != http.StatusAccepted {
			if s.isProblem(a); a.StatusCode != http.StatusBadRequest || s.jobs() != before {
				t.Errorf("%q: status %d, %d jobs after %d", text, a.StatusCode, s.jobs(), before)
			}
			continue
		}
		path := jobPath(decode[BatchResponse](s, a, http.StatusAccepted).Ids[0])
		got := s.do("GET", path, "")
		job := decode[Job](s, got, http.StatusOK)
		var key string // what the encoder made of invalid UTF-8 is what was sent
		must(t, json.Unmarshal(quoted, &key))
		if *job.IdempotencyKey != key || !strings.Contains(string(got.body), `"note":`+string(quoted)+`,`+string(quoted)+`:1}`) {
			t.Errorf("%q came back as %s", text, got.body)
		}
		if again := s.batch("["+body+"]", "application/json"); again[0] != path {
			t.Errorf("%q: the key is not found again", text)
		}
	}
	callback := `https://app.example/a?b='1';--&c=$1&d=%00%0d%0a&e="`
	quoted, err := json.Marshal(callback)
	must(t, err)
	made := s.enqueue(`{"type":"diary.entry","payload":{"input":"x"},"callback_url":` + string(quoted) + `}`)
	if job := decode[Job](s, s.do("GET", made.StatusURL, ""), http.StatusOK); *job.CallbackURL != callback {
		t.Errorf("the callback came back as %s", *job.CallbackURL)
	}
	for _, text := range hostile {
		for _, path := range []string{"/api/ai/jobs/" + url.PathEscape(text), "/api/ai/jobs?type=" + url.QueryEscape(text), "/api/ai/jobs?cursor=" + url.QueryEscape(text)} {
			if a := s.do("GET", path, ""); a.StatusCode >= 500 || a.StatusCode == http.StatusOK && text != "" && strings.Contains(string(a.body), `"jobs":[{`) {
				t.Errorf("%s: %d %.200s", path, a.StatusCode, a.body)
			}
		}
	}
}

// An operator is known by the address that the connection comes from. What a client says of itself is not for the audit.
func TestAuditTakesNobodysWord(t *testing.T) {
	t.Parallel()
	s := open(t)
	for _, header := range []string{"X-Forwarded-For", "X-Real-Ip", "Forwarded", "User-Agent", "X-Request-Id"} {
		decode[Upstream](s, s.do("POST", "/api/ai/upstreams/openai%3Agpt-5/pause", "", header, "10.0.0.1'; drop table jobs"), http.StatusOK)
		decode[Upstream](s, s.do("POST", "/api/ai/upstreams/openai%3Agpt-5/resume", "", header, "10.0.0.1"), http.StatusOK)
	}
	var others int
	must(t, s.pool.QueryRow(t.Context(), `select count(*) from breaker_events where by <> 'api 127.0.0.1'`).Scan(&others))
	if others > 0 {
		t.Errorf("%d events by somebody else", others)
	}
}

// Whatever clients send while everything fails, the log is one JSON object a line, and holds nothing of what they sent.
func TestLogHoldsNoWordOfClients(t *testing.T) {
	t.Parallel()
	log := &lockedBuffer{}
	s := openWith(t, pgtest.New(t), func(s *Server) { s.log = slog.New(slog.NewJSONHandler(log, nil)) })
	const mark = "s3cr3t-of-a-client"
	attack := func() {
		for _, text := range []string{mark, mark + "\n{\"level\":\"ERROR\"}", "\x1b[31m" + mark, "\u202e" + mark, mark + `","x":"`} {
			quoted, err := json.Marshal(text)
			must(t, err)
			s.do("POST", "/api/ai/enqueue", `{"type":"diary.entry","payload":{"input":`+string(quoted)+`}}`, "Authorization", "Bearer "+mark, "User-Agent", mark,
				"X-Request-Id", mark+" x", "Cookie", mark, "X-Forwarded-For", mark)
			s.do("POST", "/api/ai/enqueue/batch", `[{"type":`+string(quoted)+`,"payload":{"input":"x"},"idempotency_key":`+string(quoted)+`,"callback_url":`+string(quoted)+`}]`)
			s.do("POST", "/api/ai/enqueue/batch", `[{"type":"diary.entry","payload":{"input":"x"},"idempotency_key":`+string(quoted)+`,"callback_url":"https://`+mark+`.example/"}]`)
			s.do("GET", "/api/ai/jobs/"+url.PathEscape(text), "")
			s.do("GET", "/api/ai/jobs?type="+url.QueryEscape(text), "")
			// The upstream that could not be paused is named, in one line: it is what the operator asked about.
			s.do("POST", "/api/ai/upstreams/"+url.PathEscape(strings.ReplaceAll(text, mark, "some"))+"/pause", "")
			s.do("GET", "/"+url.PathEscape(text), "")
		}
	}
	attack()
	if log.String() != "" {
		t.Errorf("refused requests are logged: %s", log)
	}
	for _, sql := range []string{
		`alter table jobs add constraint no_more check (false) not valid`, // its error's detail quotes the row
		`drop table attempts`, `alter table upstreams rename to gone`, `drop table delayed`,
	} {
		_, err := s.pool.Exec(t.Context(), sql)
		must(t, err)
		attack()
	}
	lines := bufio.NewScanner(strings.NewReader(log.String()))
	n := 0
	for ; lines.Scan(); n++ {
		var line struct{ Time, Level, Msg string }
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil || line.Time == "" || line.Level == "" || line.Msg == "" {
			t.Errorf("%v: %s", err, lines.Text())
		}
		if strings.Contains(lines.Text(), mark) {
			t.Fatalf("a client's words are in the log: %s", lines.Text())
		}
	}
	if n < 20 {
		t.Errorf("only %d lines: nothing failed", n)
	}
}
