package llm

import "testing"

func TestAFingerprintTellsKeysApartAndStaysTheSame(t *testing.T) {
	t.Parallel()
	// Rows keep it across versions: what `printf 'sluice/credential/v1\nsk-test' | sha256sum` begins with.
	if got := Fingerprint("sk-test"); got != "c3dcb9b792cf9ead" {
		t.Errorf("the fingerprint is %q", got)
	}
	if Fingerprint("sk-old") == Fingerprint("sk-test") {
		t.Error("two keys have one fingerprint")
	}
	if got := Fingerprint(""); got != "" {
		t.Errorf("no key has the fingerprint %q", got)
	}
}
