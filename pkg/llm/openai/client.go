package openai

import (
	"context"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"time"

	sdk "github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/sluicedev/sluice/pkg/llm"
)

// What one call may bring in, in bytes. An error's body is cut there, an answer is refused: half of it is no answer.
const (
	maxAnswer    = 32 << 20
	maxErrorBody = 64 << 10
)

// refusalTime is how long an error's body may take: a provider that fails in the middle of saying so must not hold a slot, and
// the news of it, for as long as an answer may take.
const refusalTime = 3 * time.Second

// Config says where to call and with which credential.
type Config struct {
	BaseURL string // such as https://api.openai.com/v1, which is the default
	APIKey  string // sent as a bearer token; none is sent when empty

	// Transport replaces the package's own, which allows thousands of calls at once.
	Transport http.RoundTripper
}

// Client makes calls to one provider with one credential. It is safe for concurrent use; nothing has to be closed.
type Client struct {
	api    sdk.Client // without its own constructor, which reads the environment
	apiKey string
}

var _ llm.Provider = (*Client)(nil)

// New returns a client. It touches neither the network nor the environment.
func New(c Config) *Client {
	if c.Transport == nil {
		c.Transport = newTransport()
	}
	options := []option.RequestOption{
		option.WithEnvironmentProduction(), // the SDK's own base URL, unless the next option replaces it
		option.WithHTTPClient(once{c.Transport}),
		option.WithMaxRetries(0),
		option.WithMiddleware(limitBody),
	}
	if c.BaseURL != "" {
		options = append(options, option.WithBaseURL(c.BaseURL))
	}
	if c.APIKey != "" {
		options = append(options, option.WithAPIKey(c.APIKey))
	}
	return &Client{api: sdk.Client{Options: options}, apiKey: c.APIKey}
}

// once sends a request as it is, and follows no redirect, for that would send the call a second time. What http.Client does
// around that costs each call in flight 2 KiB.
type once struct{ http.RoundTripper }

// Do is what the SDK asks of a client.
func (o once) Do(r *http.Request) (*http.Response, error) { return o.RoundTrip(r) }

// Call implements llm.Provider.
func (c *Client) Call(ctx context.Context, r llm.Request) (*llm.Response, error) {
	body, err := prepare(r)
	if err != nil {
		return nil, c.error(llm.Error{Kind: llm.Invalid, Message: err.Error(), Err: err})
	}
	sending, cancel := context.WithCancel(ctx)
	defer cancel()
	res, err := c.send(sending, r.ID, body)
	if res == nil {
		return nil, c.error(noAnswer(ctx, err))
	}
	defer func() { _ = res.Body.Close() }()

	a := &answer{Response: res, started: r.Started, cancel: cancel}
	got, failure := a.read(ctx)
	if failure != nil {
		failure.Status = res.StatusCode
		failure.Header = res.Header
		failure.RequestID = a.requestID()
		return nil, c.error(*failure)
	}
	return got, nil
}

// send makes the request. A response, whatever its status, makes err meaningless: the SDK's errors are lossy, and on some
// bodies ("error" being a string) not even its own type.
func (c *Client) send(ctx context.Context, id string, body []byte) (*http.Response, error) {
	var res *http.Response
	options := []option.RequestOption{
		option.WithResponseBodyInto(&res), // leaves the body of a 2xx unread
		option.WithResponseInto(&res),     // set in spite of an error
	}
	if id != "" {
		options = append(options, option.WithHeader("X-Client-Request-Id", id))
	}
	err := c.api.Post(ctx, "responses", json.RawMessage(body), nil, options...)
	return res, err
}

// Credential implements llm.Provider.
func (c *Client) Credential() string { return llm.Fingerprint(c.apiKey) }

func (c *Client) error(e llm.Error) *llm.Error { return llm.NewError(e, c.apiKey) }

// limitBody bounds what a response can make this process hold.
func limitBody(req *http.Request, next option.MiddlewareNext) (*http.Response, error) {
	res, err := next(req)
	if res == nil || err != nil {
		return res, err
	}
	if res.StatusCode < http.StatusBadRequest {
		res.Body = http.MaxBytesReader(nil, res.Body, maxAnswer)
	} else {
		res.Body = newRefusalBody(res.Body)
	}
	return res, nil
}

// refusalBody is what a provider says of its refusal, up to a limit in bytes and in time. However it ends, what came is all: the status
// and the headers are known by then, and the SDK, which reads it before anybody else can, would throw the rest away with an error.
type refusalBody struct {
	io.Reader
	body io.Closer
	late *time.Timer
}

func newRefusalBody(body io.ReadCloser) *refusalBody {
	return &refusalBody{io.LimitReader(body, maxErrorBody), body, time.AfterFunc(refusalTime, func() { _ = body.Close() })}
}

func (b *refusalBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err != nil {
		err = io.EOF
	}
	return n, err
}

func (b *refusalBody) Close() error {
	b.late.Stop()
	return b.body.Close()
}

// isStream tells an event stream by its content type.
func isStream(h http.Header) bool {
	mediaType, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	return err == nil && mediaType == "text/event-stream"
}
