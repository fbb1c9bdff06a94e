package openai

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/sluicedev/sluice/pkg/llm"
)

// prepare checks what would make the call pointless and gives the body to send.
func prepare(r llm.Request) ([]byte, error) {
	if err := checkID(r.ID); err != nil {
		return nil, err
	}
	return spliceStream(r.Body)
}

// spliceStream puts "stream":true right behind the opening brace and leaves every other byte as it is.
func spliceStream(body []byte) ([]byte, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil || members == nil {
		return nil, errors.New("the request body is not a JSON object")
	}
	if _, set := members["stream"]; set {
		return nil, errors.New(`the request body sets "stream", which is not its to set`)
	}
	brace := bytes.IndexByte(body, '{') + 1
	stream := `"stream":true`
	if len(members) > 0 {
		stream += ","
	}
	out := make([]byte, 0, len(body)+len(stream))
	out = append(out, body[:brace]...)
	out = append(out, stream...)
	return append(out, body[brace:]...), nil
}

func checkID(id string) error {
	if len(id) > llm.MaxRequestID {
		return fmt.Errorf("the request id has %d characters, more than %d", len(id), llm.MaxRequestID)
	}
	for _, c := range []byte(id) {
		if c < ' ' || c > '~' {
			return errors.New("the request id is not printable ASCII")
		}
	}
	return nil
}
