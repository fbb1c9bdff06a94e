package llm

import (
	"regexp"
	"strings"
)

const redacted = "[redacted]"

// minSecret is the length from which a credential is looked for: a shorter one ("none", "test") protects nothing, and
// removing it would damage ordinary words. It is also how much of a credential gives an echo of its beginning away.
const minSecret = 8

// Key material by its looks. Providers echo keys whole, masked ("sk-proj-****abcd") and shortened ("abcdefgh...wxyz").
var (
	bearer   = regexp.MustCompile(`(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=*-]{4,}`)
	provided = regexp.MustCompile(`(?i)(api[ _-]?key(?:[ _-]?provided)?["']?\s*[:=]\s*["']?)[^\s"',\[\]]*[A-Za-z0-9*]`)
	keyLike  = regexp.MustCompile(`\b(?:(?:sk|rk|sess|xai)-[A-Za-z0-9_*.…-]{4,}[A-Za-z0-9_*]|(?:gsk|hf)_[A-Za-z0-9]{16,}|AIza[A-Za-z0-9_-]{16,}|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9._-]{8,})`)
	masked   = regexp.MustCompile(`[A-Za-z0-9_-]*\*{3,}[A-Za-z0-9_*-]*`)
	userInfo = regexp.MustCompile(`(://)[^/\s@"]+@`)
)

// Redact replaces key material in s: anything that looks like a key, and whatever begins like one of secrets, whole or
// shortened. It errs on the side of removing too much.
func Redact(s string, secrets ...string) string {
	for _, secret := range secrets {
		s = redactSecret(s, secret)
	}
	s = bearer.ReplaceAllString(s, "${1} "+redacted)
	s = provided.ReplaceAllString(s, "${1}"+redacted)
	s = keyLike.ReplaceAllString(s, redacted)
	s = masked.ReplaceAllString(s, redacted)
	return userInfo.ReplaceAllString(s, "${1}"+redacted+"@")
}

// redactSecret replaces every word from where it begins like secret.
func redactSecret(s, secret string) string {
	if len(secret) < minSecret {
		return s
	}
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(s, secret[:minSecret])
		out.WriteString(before)
		if !found {
			return out.String()
		}
		out.WriteString(redacted)
		s = rest[wordEnd(rest):]
	}
}

// wordEnd is where a key that s begins inside of ends: before white space, a quote or the end of a sentence.
func wordEnd(s string) int {
	end := strings.IndexAny(s, " \t\r\n\"'<>,;")
	if end < 0 {
		end = len(s)
	}
	return len(strings.TrimRight(s[:end], ".!"))
}
