package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// A job that was enqueued over HTTP ends, and its tenant's endpoint is told by a worker, signed.
func TestAnEndpointIsToldThatAJobHasEnded(t *testing.T) {
	t.Parallel()
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	wh, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan []byte, 10)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if err := wh.Verify(body, r.Header); err != nil {
			t.Errorf("not signed: %v", err)
		}
		told <- body
	}))
	t.Cleanup(receiver.Close)
	file := filepath.Join(t.TempDir(), "sluice.yaml")
	if err := os.WriteFile(file, []byte("webhooks: {default: {url: '"+receiver.URL+"/hook'}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t)
	s.worker("SLUICE_CONFIG="+file, "SLUICE_WEBHOOK_SECRET="+secret, "SLUICE_WEBHOOK_NETWORKS=127.0.0.0/8,::1/128")
	s.until("the worker has told where the endpoint is", func() bool {
		var n int
		return s.db.QueryRow(t.Context(), `select count(*) from webhook_endpoints`).Scan(&n) == nil && n == 1
	})
	s.enqueue("diary.entry", "hello")
	var event struct {
		Type string
		Data struct {
			State  string
			Result struct {
				Text string `json:"output_text"`
			}
		}
	}
	if err := json.Unmarshal(<-told, &event); err != nil {
		t.Fatal(err)
	}
	if event.Type != "job.done" || event.Data.State != "done" || event.Data.Result.Text == "" {
		t.Errorf("told %+v", event)
	}
	s.until("the delivery is recorded", func() bool {
		var n int
		return s.db.QueryRow(t.Context(), `select count(*) from webhook_deliveries where delivered_at is not null`).Scan(&n) == nil && n == 1
	})
}
