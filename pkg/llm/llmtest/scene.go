package llmtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
)

// sceneRPM is the limit of requests per minute in the scene "rate-limited": low enough to be felt at once.
const sceneRPM = 12

// scenes are what a person can switch to, each a change of the usual script.
var scenes = map[string]func(*Script){
	"healthy":       func(s *Script) { s.Mode = "healthy" },
	"rate-limited":  func(s *Script) { s.Mode, s.RPM = "healthy", sceneRPM },
	"down":          func(s *Script) { s.Mode = "down" },
	"out-of-credit": func(s *Script) { s.Mode = "out_of_credit" },
}

// Scene is the body of /control/mode, both ways.
type Scene struct {
	Mode string `json:"mode"`
}

// serveScene answers the web pages of the origins that ServePages named. A browser tells a page's origin with each request,
// and asks first before it sends a PUT.
func (s *Simulator) serveScene(w http.ResponseWriter, r *http.Request) {
	origin := r.Header.Get("Origin")
	w.Header().Set("Vary", "Origin")
	if !slices.Contains(s.pages, origin) {
		writeJSON(w, http.StatusForbidden, invalid("", "", "Only the page of the demo may do this.").object())
		return
	}
	w.Header().Set("Access-Control-Allow-Origin", origin)
	switch r.Method {
	case http.MethodOptions:
		w.Header().Set("Access-Control-Allow-Methods", "GET, PUT")
		w.Header().Set("Access-Control-Allow-Headers", "Content-Type")
		w.WriteHeader(http.StatusNoContent)
	case http.MethodGet:
		writeJSON(w, http.StatusOK, Scene{s.currentScene()})
	case http.MethodPut:
		s.servePutScene(w, r)
	default:
		writeJSON(w, http.StatusMethodNotAllowed, invalid("", "", "GET or PUT").object())
	}
}

func (s *Simulator) servePutScene(w http.ResponseWriter, r *http.Request) {
	var scene Scene
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxControlBody)).Decode(&scene)
	if err == nil {
		err = s.switchTo(scene.Mode)
	}
	if err != nil {
		writeJSON(w, http.StatusBadRequest, invalid("", "", err.Error()).object())
		return
	}
	writeJSON(w, http.StatusOK, scene)
}

func (s *Simulator) switchTo(scene string) error {
	change, ok := scenes[scene]
	if !ok {
		return fmt.Errorf("there is no mode %q", scene)
	}
	return s.change(func(script *Script) error {
		*script, s.scene = s.usual, scene
		change(script)
		return nil
	})
}

func (s *Simulator) currentScene() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.scene == "" {
		return "healthy"
	}
	return s.scene
}
