package config

// Secret is a value that does not show itself when it is printed, logged or
// marshalled.
type Secret string

const redacted = "[secret]"

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString keeps %#v from showing it.
func (s Secret) GoString() string { return s.String() }

// MarshalText keeps JSON, YAML and slog from showing it.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
