package llmtest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// maxRequestBody is more than any provider takes.
const maxRequestBody = 32 << 20

// exchange is one call being answered.
type exchange struct {
	*Simulator
	w      http.ResponseWriter
	ctx    context.Context // ends when the client leaves
	script Script          // as it was when the call arrived
	req    request
	call   *Call
	limits http.Header // the quota headers, as of its admission
}

func (s *Simulator) serveCall(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequestBody))
	if err != nil {
		writeJSON(w, http.StatusRequestEntityTooLarge, invalid("", "", err.Error()).object())
		return
	}
	req, bad := parse(raw)
	call := Call{ID: r.Header.Get("X-Client-Request-Id"), Model: req.Model, At: s.since(), BodyBytes: len(raw)}
	if s.bodies {
		call.Body = raw
	}
	x := &exchange{Simulator: s, w: w, ctx: r.Context(), script: s.Script(), req: req, call: s.calls.begin(call)}
	defer func() { s.calls.end(x.call, s.since()) }()
	fate := x.fate(bad)
	if x.passGate(&s.first) {
		x.answer(fate)
	}
}

// fate decides, as the call arrives, what becomes of it, and charges the quota.
func (x *exchange) fate(bad *refusal) behaviour {
	mode := x.mode()
	x.calls.update(x.call, func(c *Call) { c.Mode = mode })
	fate, err := behaviourOf(mode)
	switch {
	case err != nil:
		fate = behaviour{refusal: invalid("input", "", err.Error())}
	case fate.refusal != nil || fate.body != nil:
	case bad != nil:
		fate = behaviour{refusal: bad}
	case fate == behaviour{} && x.chance(x.script.ErrorRate):
		fate = behaviour{refusal: statusRefusal(http.StatusInternalServerError)}
	default:
		return x.admit(fate)
	}
	x.limits = x.quota.charge(x.script, x.req.Model, x.clock())
	return fate
}

// mode is the test's choice, then the provider's bad day, then what the request chose for itself.
func (x *exchange) mode() string {
	if mode := x.decide(*x.call); mode != "" {
		return mode
	}
	if mode := x.script.Mode; mode != "" && mode != "healthy" {
		return mode
	}
	return x.req.mode()
}

func (x *exchange) admit(fate behaviour) behaviour {
	tokens := x.req.charge()
	a := x.quota.admit(x.script, x.req.Model, tokens, x.clock())
	x.limits = a.header
	if a.refusal != nil {
		return behaviour{refusal: a.refusal}
	}
	x.calls.update(x.call, func(c *Call) { c.Tokens = tokens })
	return fate
}

// answer carries a fate out. Refusals come at once, as they do from a real provider; all else after the latency.
func (x *exchange) answer(fate behaviour) {
	switch {
	case fate.refusal != nil:
		x.refuse(fate.refusal)
	case fate.body != nil:
		x.writeHeader(fate.body.status, fate.body.contentType)
		x.deliver([]byte(fate.body.text))
	case fate.stream == endReset:
		x.reset()
	case fate.stream == endHang:
		x.hang()
	case !x.sleep(x.latency(x.script)):
	case x.req.Stream:
		x.stream(fate.stream)
	default:
		x.object(fate.stream)
	}
}

func (x *exchange) refuse(no *refusal) {
	after := no.retryAfter
	if x.script.RetryAfter != "" {
		after = x.script.RetryAfter
	}
	if after != "" {
		x.w.Header().Set("Retry-After", after)
	}
	x.writeHeader(no.status, "application/json")
	body, _ := json.Marshal(no.object())
	x.deliver(body)
}

// object is the error as JSON, with null for what is not said.
func (r *refusal) object() any {
	orNull := func(s string) any {
		if s == "" {
			return nil
		}
		return s
	}
	return map[string]any{"error": map[string]any{
		"message": r.message, "type": orNull(r.errorType), "param": orNull(r.param), "code": orNull(r.code),
	}}
}

// writeHeader answers the status, with the headers of a real provider.
func (x *exchange) writeHeader(status int, contentType string) {
	x.calls.update(x.call, func(c *Call) { c.Status = status })
	h := x.w.Header()
	for name, value := range x.quotaHeaders(status) {
		h[name] = value
	}
	h.Set("X-Request-Id", fmt.Sprintf("req_sim_%d", x.call.Number))
	h.Set("Openai-Organization", organization)
	h.Set("Openai-Processing-Ms", strconv.FormatInt((x.since()-x.call.At).Milliseconds(), 10))
	h.Set("Openai-Version", "2020-10-01")
	if contentType != "" {
		h.Set("Content-Type", contentType)
	}
	x.w.WriteHeader(status)
}

func (x *exchange) quotaHeaders(status int) http.Header {
	switch x.script.Headers {
	case "off":
		return nil
	case "junk": // as Azure sends them
		junk := http.Header{}
		for _, dimension := range []string{"Requests", "Tokens"} {
			junk.Set("X-Ratelimit-Limit-"+dimension, "-1")
			junk.Set("X-Ratelimit-Remaining-"+dimension, "-1")
			junk.Set("X-Ratelimit-Reset-"+dimension, "0")
		}
		return junk
	case "success":
		if status >= http.StatusBadRequest {
			return nil
		}
	}
	return x.limits
}

// deliver writes the last part of an answer.
func (x *exchange) deliver(last []byte) {
	there := x.ctx.Err() == nil // before: a client that has all of it may be gone the moment after
	if x.write(last) && x.flush() && there {
		x.calls.update(x.call, func(c *Call) { c.Delivered = true })
	}
}

func (x *exchange) write(b []byte) bool {
	_, err := x.w.Write(b)
	return err == nil
}

// flush sends what was written. Writes are gathered where nobody could tell: each costs a system call on both sides.
func (x *exchange) flush() bool { return http.NewResponseController(x.w).Flush() == nil }

// passGate waits while g is shut; false when the client has left.
func (x *exchange) passGate(g *gate) bool {
	door := g.door()
	if door == nil {
		return true
	}
	x.calls.held(+1)
	defer x.calls.held(-1)
	return x.await(door)
}

func (x *exchange) sleep(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	return waitFor(x, timer.C)
}

func (x *exchange) await(event <-chan struct{}) bool { return waitFor(x, event) }

// hang says nothing until the client gives up.
func (x *exchange) hang() { x.await(nil) }

// waitFor is false when the client left first.
func waitFor[T any](x *exchange, event <-chan T) bool {
	select {
	case <-event:
		return true
	case <-x.ctx.Done():
		return false
	case <-x.closing:
		panic(http.ErrAbortHandler) // a plain return would end the answer as if it were whole
	}
}

// reset ends the connection with a TCP reset, or as rudely as can be done.
func (x *exchange) reset() {
	conn, _, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// sorted are the keys of a map in order, for deterministic answers.
func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
