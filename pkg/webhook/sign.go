package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
)

const (
	secretPrefix = "whsec_"
	minKey       = 24 // bytes, as the specification says
	maxKey       = 64
	maxKeys      = 5 // that sign at once
)

// Key signs deliveries. It does not show itself.
type Key struct{ secret string }

func (Key) String() string { return "[secret]" }

// GoString keeps %#v from showing it.
func (Key) GoString() string { return "[secret]" }

// ParseKeys reads secrets (whsec_ and base64), separated by space or commas. Each signs, so that a receiver that knows only
// one of them, the old or the new, is content.
func ParseKeys(secrets string) ([]Key, error) {
	var keys []Key
	for _, secret := range strings.FieldsFunc(secrets, func(r rune) bool { return unicode.IsSpace(r) || r == ',' }) {
		encoded, ok := strings.CutPrefix(secret, secretPrefix)
		raw, err := base64.StdEncoding.DecodeString(encoded)
		if !ok || err != nil || len(raw) < minKey || len(raw) > maxKey {
			return nil, fmt.Errorf("a webhook secret must be %s and the base64 of %d to %d bytes", secretPrefix, minKey, maxKey)
		}
		keys = append(keys, Key{string(raw)})
	}
	if len(keys) == 0 || len(keys) > maxKeys {
		return nil, errors.New("there must be 1 to " + strconv.Itoa(maxKeys) + " webhook secrets")
	}
	return keys, nil
}

// signatures is the header webhook-signature: that of each key, in their order.
func signatures(keys []Key, id string, at time.Time, body []byte) string {
	signed := make([]string, len(keys))
	for i, key := range keys {
		mac := hmac.New(sha256.New, []byte(key.secret))
		fmt.Fprintf(mac, "%s.%d.%s", id, at.Unix(), body)
		signed[i] = "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	return strings.Join(signed, " ")
}
