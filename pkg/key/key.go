package key

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"hash/crc32"
	"strings"
	"time"
)

// Key is what is known of an API key. Its secret is not.
type Key struct {
	ID         string     `json:"id"`
	Tenant     string     `json:"tenant"` // whose jobs it sees
	Name       string     `json:"name"`
	Scopes     []Scope    `json:"scopes"`
	State      State      `json:"state"`
	CreatedAt  time.Time  `json:"created_at"`
	ExpiresAt  *time.Time `json:"expires_at"`   // nil: never
	LastUsedAt *time.Time `json:"last_used_at"` // to two minutes
	RevokedAt  *time.Time `json:"revoked_at"`
}

// State says whether a key works.
type State string

// States of a key.
const (
	Active  State = "active"
	Expired State = "expired"
	Revoked State = "revoked"
)

// The parts of a key's text. It has no character at which a double click stops, and a prefix for secret scanners.
const (
	prefix       = "sluice"
	idBytes      = 10
	secretBytes  = 32
	idLength     = 16
	secretLength = 52
	sumLength    = 7
	textLength   = len(prefix) + 1 + idLength + 1 + secretLength + sumLength
	alphabet     = "abcdefghijklmnopqrstuvwxyz234567"
)

var encoding = base32.NewEncoding(alphabet).WithPadding(base32.NoPadding)

// generate makes the two random parts of a key.
func generate() (id, secret string) { return random(idBytes), random(secretBytes) }

func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // it never fails
	return encoding.EncodeToString(b)
}

func compose(id, secret string) string {
	body := id + "_" + secret
	return prefix + "_" + body + checksum(body)
}

// checksum tells every single wrong character, and all but one of four billion other mistakes.
func checksum(body string) string {
	return encoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE([]byte(body))))
}

// Parse takes a key's text apart. False: nobody was ever given this text.
func Parse(text string) (id, secret string, ok bool) {
	if len(text) != textLength {
		return "", "", false
	}
	id = text[len(prefix)+1:][:idLength]
	secret = text[len(prefix)+1+idLength+1:][:secretLength]
	// Whoever can work out a checksum can do so for any bytes: what is not of the alphabet must not reach the database.
	return id, secret, strings.Trim(id+secret, alphabet) == "" && text == compose(id, secret)
}

func digest(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}
