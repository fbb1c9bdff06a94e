package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// network makes the wires between processes, which faults cut, slow down and starve.
type network struct {
	server *toxiproxy.ApiServer // never listens: a proxy asks it for its logger and its metrics
}

func newNetwork() network {
	zerolog.SetGlobalLevel(zerolog.Disabled) // some toxics know no other logger
	return network{server: toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())}
}

// wire is a proxy on a port of its own in front of one server.
type wire struct{ *toxiproxy.Proxy }

func (n network) wire(name, to string) (wire, error) {
	w := wire{toxiproxy.NewProxy(n.server, name, "127.0.0.1:0", to)}
	if err := w.Start(); err != nil {
		return wire{}, fmt.Errorf("proxy %s: %w", name, err)
	}
	return w, nil
}

// turn leads a wire to another server. Who was connected is not any more.
func (w wire) turn(to string) error {
	w.Stop()
	w.Upstream = to
	return w.Start()
}

// toxic is what happens to the bytes of a wire, in toxiproxy's words.
type toxic struct {
	Type       string         `json:"type"`
	Stream     string         `json:"stream"` // upstream: what the client sends; downstream: what it gets
	Attributes map[string]int `json:"attributes"`
}

func (w wire) add(toxics ...toxic) error {
	for _, t := range toxics {
		raw, err := json.Marshal(t)
		if err != nil {
			return err
		}
		if _, err := w.Toxics.AddToxicJson(bytes.NewReader(raw)); err != nil {
			return fmt.Errorf("%s on %s: %w", t.Type, w.Name, err)
		}
	}
	return nil
}

// heal takes away all that add did. Connections that lost bytes are closed: what was lost does not come back.
func (w wire) heal() { w.Toxics.ResetToxics(context.Background()) }

// silent is a half-open connection: both ends believe in it, and nothing arrives.
var silent = []toxic{
	{Type: "timeout", Stream: "upstream", Attributes: map[string]int{"timeout": 0}},
	{Type: "timeout", Stream: "downstream", Attributes: map[string]int{"timeout": 0}},
}

// slow is a bad line: late, with jitter (milliseconds), and narrow (kB/s).
func slow(latency, jitter, rate int) []toxic {
	return []toxic{
		{Type: "latency", Stream: "upstream", Attributes: map[string]int{"latency": latency, "jitter": jitter}},
		{Type: "latency", Stream: "downstream", Attributes: map[string]int{"latency": latency, "jitter": jitter}},
		{Type: "bandwidth", Stream: "downstream", Attributes: map[string]int{"rate": rate}},
	}
}

// reset ends each connection with a RST after this many milliseconds.
func reset(after int) []toxic {
	return []toxic{{Type: "reset_peer", Stream: "downstream", Attributes: map[string]int{"timeout": after}}}
}
