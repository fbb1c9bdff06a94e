package llm_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/sluicedev/sluice/pkg/llm"
)

func TestStorableText(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in    string
		limit int
		want  string
	}{
		"plain":                   {"héllo", 100, "héllo"},
		"NUL":                     {"a\x00b", 100, "a\uFFFDb"},
		"invalid UTF-8":           {"a\xffb", 100, "a\uFFFDb"},
		"encoded lone surrogate":  {"a\xed\xa0\x80b", 100, "a\uFFFDb"},
		"exactly the limit":       {"abcd", 4, "abcd"},
		"cut, no room to say so":  {"abcdef", 4, "abcd"},
		"never cut inside a rune": {"ééé", 3, "é"},
		"cut says so":             {strings.Repeat("x", 100), 40, strings.Repeat("x", 16) + " [cut: 100 bytes in all]"},
	} {
		if got := llm.StorableText(c.in, c.limit); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestStorableTextHoldsForAnyText(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in := string(rapid.SliceOf(rapid.Byte()).Draw(t, "in"))
		limit := rapid.IntRange(0, 60).Draw(t, "limit")
		got := llm.StorableText(in, limit)
		if len(got) > limit || !utf8.ValidString(got) || strings.ContainsRune(got, 0) {
			t.Fatalf("StorableText(%q, %d) = %q", in, limit, got)
		}
	})
}

func TestStorableJSON(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ in, want string }{
		"nothing to do":              {`{"b":1e400000, "a":[1.0,1.0],"a":"\n\"\\u0000"}`, `{"b":1e400000, "a":[1.0,1.0],"a":"\n\"\\u0000"}`},
		"NUL":                        {`["a\u0000b\u0000"]`, `["a\ufffdb\ufffd"]`},
		"NUL in a key":               {`{"\u0000":1}`, `{"\ufffd":1}`},
		"an escaped backslash first": {`["\\u0000","\\\u0000"]`, `["\\u0000","\\\ufffd"]`},
		"lone high surrogate":        {`["\ud83dx"]`, `["\ufffdx"]`},
		"lone high, then an escape":  {`["\ud83d\n"]`, `["\ufffd\n"]`},
		"lone low surrogate":         {`["\uDE00"]`, `["\ufffd"]`},
		"two high, one low":          {`["\ud83d\ud83d\ude00"]`, `["\ufffd\ud83d\ude00"]`},
		"a pair stays":               {`["\uD83D\uDE00é"]`, `["\uD83D\uDE00é"]`},
		"invalid UTF-8":              {"[\"a\xffb\"]", "[\"a\uFFFDb\"]"},
		"truncated":                  {`{"a":`, `{"not_kept":"not JSON","bytes":5}`},
		"too long":                   {`"` + strings.Repeat("x", 5000) + `"`, `{"not_kept":"longer than the limit of 4096 bytes","bytes":5002}`},
		"brackets in a string":       {`"` + strings.Repeat("[", 1500) + `"`, `"` + strings.Repeat("[", 1500) + `"`},
		"too deep":                   {strings.Repeat("[", 1001) + strings.Repeat("]", 1001), `{"not_kept":"nested deeper than 1000 levels","bytes":2002}`},
	} {
		if got := string(llm.StorableJSON(json.RawMessage(c.in), 4096)); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

// Whatever a string holds, its storable form is JSON that decodes to the same text but for the unwanted characters.
func TestStorableJSONKeepsMeaning(t *testing.T) {
	t.Parallel()
	units := []string{`\u0000`, `\ud83d`, `\ude00`, `\ud83d\ude00`, `\\`, `\"`, `\n`, `\u0041`, `x`, `é`, `u0000`, `[`}
	rapid.Check(t, func(t *rapid.T) {
		in := `{"k":"` + strings.Join(rapid.SliceOf(rapid.SampledFrom(units)).Draw(t, "units"), "") + `"}`
		out := llm.StorableJSON(json.RawMessage(in), 1<<20)
		var before, after map[string]string
		if err := json.Unmarshal([]byte(in), &before); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(out, &after); err != nil {
			t.Fatalf("%s became %s: %v", in, out, err)
		}
		// Go decodes lone surrogates to U+FFFD itself.
		if want := strings.ReplaceAll(before["k"], "\x00", "\uFFFD"); after["k"] != want {
			t.Fatalf("%s became %s", in, out)
		}
	})
}
