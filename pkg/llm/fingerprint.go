package llm

import (
	"crypto/sha256"
	"encoding/hex"
)

// fingerprintDomain keeps a fingerprint from being anybody else's hash of the key.
const fingerprintDomain = "sluice/credential/v1\n"

// Fingerprint tells an API key from other keys, and tells nothing else of it. No key has none: "".
func Fingerprint(key string) string {
	if key == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(fingerprintDomain + key))
	return hex.EncodeToString(sum[:8])
}
