package webhook

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"
)

// secretOf makes a secret of 24 bytes.
func secretOf(name string) string {
	sum := sha256.Sum256([]byte(name))
	return secretPrefix + base64.StdEncoding.EncodeToString(sum[:minKey])
}

func keysOf(t testing.TB, secrets ...string) []Key {
	t.Helper()
	keys, err := ParseKeys(strings.Join(secrets, " "))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// The example of the specification's own libraries.
func TestSignatureOfTheSpecification(t *testing.T) {
	t.Parallel()
	keys := keysOf(t, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	got := signatures(keys, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("%s; want %s", got, want)
	}
}

func TestEveryKeySigns(t *testing.T) {
	t.Parallel()
	at, body := time.Unix(1, 0), []byte("x")
	one, other := keysOf(t, secretOf("old")), keysOf(t, secretOf("new"))
	both, err := ParseKeys(secretOf("old") + ",\n" + secretOf("new"))
	if err != nil {
		t.Fatal(err)
	}
	want := signatures(one, "id", at, body) + " " + signatures(other, "id", at, body)
	if got := signatures(both, "id", at, body); got != want {
		t.Errorf("%s; want %s", got, want)
	}
	if printed := fmt.Sprintf("%v %+v %#v %s", both, both, both, both[0]); strings.Contains(printed, both[0].secret) {
		t.Errorf("a secret is shown: %q", printed)
	}
}

func TestParseKeys(t *testing.T) {
	t.Parallel()
	sized := func(n int) string {
		return secretPrefix + base64.StdEncoding.EncodeToString(make([]byte, n))
	}
	for _, good := range []string{sized(minKey), sized(maxKey), strings.Repeat(sized(minKey)+",", maxKeys)} {
		if _, err := ParseKeys(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", " , ", sized(minKey - 1), sized(maxKey + 1), sized(minKey)[1:], secretPrefix + "?", strings.Repeat(sized(minKey)+" ", maxKeys+1)} {
		if keys, err := ParseKeys(bad); err == nil {
			t.Errorf("%s is taken: %d keys", bad, len(keys))
		}
	}
}
