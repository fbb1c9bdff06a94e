package llmtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// State is what GET /control answers.
type State struct {
	Script Script           `json:"script"`
	Counts Counts           `json:"counts"`
	Quota  map[string]Level `json:"quota"` // by model
	Modes  []string         `json:"modes"` // that Script.Mode may name
}

const maxControlBody = 64 << 10

func (s *Simulator) routes() {
	s.mux.HandleFunc("POST /v1/responses", s.serveCall)
	s.mux.HandleFunc("POST /responses", s.serveCall)
	s.mux.HandleFunc("GET /control", s.serveState)
	s.mux.HandleFunc("POST /control", s.serveChange)
	s.mux.HandleFunc("GET /control/calls", s.serveLog)
	s.mux.HandleFunc("/control/mode", s.serveScene)
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		no := invalid("", "unknown_url", fmt.Sprintf("Unknown request URL: %s %s.", r.Method, r.URL.Path))
		writeJSON(w, http.StatusNotFound, no.object())
	})
}

// ServeHTTP implements http.Handler.
func (s *Simulator) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

func (s *Simulator) serveState(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, State{Script: s.Script(), Counts: s.Counts(), Quota: s.Levels(), Modes: Modes()})
}

// serveChange changes the members that the body names, all or none.
func (s *Simulator) serveChange(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxControlBody))
	if err == nil {
		err = s.change(func(script *Script) error {
			d := json.NewDecoder(bytes.NewReader(body))
			d.DisallowUnknownFields()
			return d.Decode(script)
		})
	}
	if err != nil {
		writeJSON(w, http.StatusBadRequest, invalid("", "", err.Error()).object())
		return
	}
	s.serveState(w, r)
}

func (s *Simulator) serveLog(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, s.Calls())
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that went away needs no answer
}
