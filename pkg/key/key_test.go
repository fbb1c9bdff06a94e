package key

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluicedev/sluice/pkg/pg/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestGeneratedKeysParseBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		id, secret := anyKey(t)
		text := compose(id, secret)
		gotID, gotSecret, ok := Parse(text)
		if !ok || gotID != id || gotSecret != secret || !strings.HasPrefix(text, "sluice_"+id+"_") {
			t.Fatalf("%s: %q, %q, %v", text, gotID, gotSecret, ok)
		}
	})
}

// anyKey is made as generate does, of bytes that rapid draws.
func anyKey(t *rapid.T) (id, secret string) {
	draw := func(n int) string {
		return encoding.EncodeToString(rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, "bytes"))
	}
	return draw(idBytes), draw(secretBytes)
}

// Whatever becomes of one character, the key is refused without a look at the database: each place, each byte.
func TestEveryMutationOfOneCharacterIsRefused(t *testing.T) {
	t.Parallel()
	text := compose(generate())
	for i := range len(text) {
		for c := range 256 {
			mutant := text[:i] + string([]byte{byte(c)}) + text[i+1:]
			if _, _, ok := Parse(mutant); ok && mutant != text {
				t.Fatalf("%q is taken for %q", mutant, text)
			}
		}
		if _, _, ok := Parse(text[:i] + text[i+1:]); ok {
			t.Errorf("without its %dth character it is taken", i)
		}
		if _, _, ok := Parse(text[:i] + "a" + text[i:]); ok {
			t.Errorf("with one more at %d it is taken", i)
		}
		if i > 0 && text[i] != text[i-1] {
			if _, _, ok := Parse(text[:i-1] + text[i:i+1] + text[i-1:i] + text[i+1:]); ok {
				t.Errorf("with two swapped at %d it is taken", i)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(compose(generate()))
	f.Add("sluice__")
	f.Fuzz(func(t *testing.T, text string) {
		id, secret, ok := Parse(text)
		if ok && (text != compose(id, secret) || strings.Trim(id+secret, alphabet) != "") {
			t.Errorf("%q: %q, %q", text, id, secret)
		}
	})
}

// A checksum is no secret: whoever works one out for bytes that would hurt further in gets no further either.
func TestAChecksumMakesNoKey(t *testing.T) {
	t.Parallel()
	id, secret := generate()
	for _, hostile := range []string{
		"\x00" + id[1:], "\xff" + id[1:], "'" + id[1:], "%" + id[1:], "A" + id[1:], "_" + id[1:], "\n" + id[1:], "0" + id[1:], "é" + id[2:], " " + id[1:],
	} {
		if _, _, ok := Parse(compose(hostile, secret)); ok {
			t.Errorf("%q is taken for an id", hostile)
		}
	}
	for _, hostile := range []string{secret[1:], secret + "a", "", strings.ToUpper(secret), "\r" + secret[1:]} {
		if _, _, ok := Parse(compose(id, hostile)); ok {
			t.Errorf("%q is taken for a secret", hostile)
		}
	}
}

func TestKeysDiffer(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 1000 {
		id, secret := generate()
		seen[id], seen[secret] = true, true
	}
	if len(seen) != 2000 {
		t.Errorf("%d different parts of 1000 keys", len(seen))
	}
}

func TestScopesImply(t *testing.T) {
	t.Parallel()
	for has, may := range map[Scope][]Scope{
		Enqueue: {Enqueue}, Read: {Read}, Operate: {Read, Operate}, Admin: {Enqueue, Read, Operate, Admin}, "root": nil, "": nil,
	} {
		for _, wanted := range Scopes {
			if got := Allow([]Scope{has}, wanted); got != slices.Contains(may, wanted) {
				t.Errorf("%s allows %s: %v", has, wanted, got)
			}
		}
	}
	if Allow(nil, Read) || !Allow([]Scope{Enqueue, Read}, Read) {
		t.Error("none, or one of two")
	}
}

func TestParseScopes(t *testing.T) {
	t.Parallel()
	if got, err := ParseScopes("enqueue, read,enqueue"); err != nil || !slices.Equal(got, []Scope{Enqueue, Read}) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "root", "enqueue,", "Admin", "read;admin", "*"} {
		if got, err := ParseScopes(bad); err == nil || !strings.Contains(err.Error(), "operate") {
			t.Errorf("%q: %v, %v", bad, got, err)
		}
	}
}
