package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sluicedev/sluice/pkg/retry"
)

const (
	callLimit       = 10 * time.Second // from the dial to the end of the answer
	maxAnswer       = 4 << 10          // bytes of an answer that are read, and not kept
	maxAnswerHeader = 16 << 10
	maxError        = 1 << 10 // bytes of last_error
	userAgent       = "Sluice-Webhook/1"
)

var errUnsigned = errors.New("there is no secret to sign it with: see SLUICE_WEBHOOK_SECRET")

// answer is what came of a try.
type answer struct {
	status     int // 0: none
	retryAfter time.Duration
	err        error // nil: delivered
}

// gone tells whether the receiver wants no more of it.
func (a answer) gone() bool { return a.status == http.StatusGone }

// newClient gives a client that goes nowhere but where it is sent: to no proxy, after no redirect, with no cookies, and to no
// address inside the network. It speaks HTTP/1.1, in which little can be sent that was not asked for.
func newClient(open []netip.Prefix, resolver *net.Resolver) *http.Client {
	dialer := &net.Dialer{Timeout: callLimit, Control: guard(open), Resolver: resolver}
	http1 := &http.Protocols{}
	http1.SetHTTP1(true)
	return &http.Client{
		Transport: &http.Transport{
			Proxy: nil, DialContext: dialer.DialContext, Protocols: http1, DisableCompression: true,
			MaxResponseHeaderBytes: maxAnswerHeader, TLSHandshakeTimeout: callLimit,
			MaxIdleConns: maxCalls, MaxIdleConnsPerHost: maxHostCalls, IdleConnTimeout: time.Minute,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// call makes a try.
func (d *Deliverer) call(ctx context.Context, x delivery) answer {
	ctx, cancel := context.WithTimeout(ctx, d.limit)
	defer cancel()
	req, err := d.request(ctx, x)
	if err != nil {
		return answer{err: err}
	}
	res, err := d.client.Do(req)
	if err != nil {
		return answer{err: withoutURL(err)}
	}
	defer res.Body.Close()
	a := answer{status: res.StatusCode, err: refusal(res.StatusCode)}
	a.retryAfter, _ = retry.RetryAfter(res.Header, time.Now())
	if cut := drain(res); cut != nil && a.err == nil {
		a.err = fmt.Errorf("answered %d, but not to the end: %w", a.status, cut)
	}
	return a
}

// refusal is what a status says; nil: taken.
func refusal(status int) error {
	switch {
	case status >= 200 && status <= 299:
		return nil
	case status >= 300 && status <= 399:
		return fmt.Errorf("answered %d: redirects are not followed", status)
	}
	return fmt.Errorf("answered %d %s", status, http.StatusText(status))
}

// drain reads a little of an answer, so that its connection can be used again, and tells whether it was cut. What follows
// a change of protocol is the bare connection, which no deadline of the call ends: it is closed unread.
func drain(res *http.Response) error {
	if res.StatusCode == http.StatusSwitchingProtocols {
		return nil
	}
	if _, err := io.CopyN(io.Discard, res.Body, maxAnswer); err != io.EOF {
		return err
	}
	return nil
}

// request builds what is sent. It is signed with the time of this try, by the database's clock.
func (d *Deliverer) request(ctx context.Context, x delivery) (*http.Request, error) {
	keys := d.cfg.Keys[x.tenant]
	if keys == nil {
		keys = d.cfg.Keys[""]
	}
	if keys == nil {
		return nil, errUnsigned
	}
	to, err := hosts(d.cfg.Hosts).target(x.url, d.cfg.Endpoints[x.tenant])
	if err != nil {
		return nil, err
	}
	content, err := body(x.event, x.job, x.result)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), strings.NewReader(string(content)))
	if err != nil {
		return nil, errNoURL
	}
	id, at := x.id.String(), x.now.Add(time.Since(x.claimed))
	req.Header = http.Header{
		"Content-Type": {"application/json"}, "User-Agent": {userAgent},
		"Webhook-Id": {id}, "Webhook-Timestamp": {strconv.FormatInt(at.Unix(), 10)}, "Webhook-Signature": {signatures(keys, id, at, content)},
	}
	return req, nil
}

// withoutURL drops the URL, in which people put passwords; the row has it.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// storable is an error's text as Postgres takes it.
func storable(err error) *string {
	if err == nil {
		return nil
	}
	text := strings.ReplaceAll(err.Error(), "\x00", "")
	return new(strings.ToValidUTF8(text[:min(len(text), maxError)], ""))
}
