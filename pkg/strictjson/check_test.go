package strictjson_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/sluicedev/sluice/pkg/strictjson"
)

const levels = 100

func nested(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

func TestCheckAccepts(t *testing.T) {
	t.Parallel()
	for name, doc := range map[string]string{
		"an object":                    `{"a":[1,"b",true,null,{}]}`,
		"a scalar":                     `0`,
		"space around":                 " \n{}\t ",
		"the deepest":                  nested(levels),
		"the deepest object":           strings.Repeat(`{"a":`, levels-1) + `{}` + strings.Repeat(`}`, levels-1),
		"the largest number":           `1.7976931348623157e308`,
		"1e308":                        `[1e308,-1e308]`,
		"a number below float64":       `1e-400`,
		"an integer past 64 bits":      `123456789012345678901234567890`,
		"300 digits":                   strings.Repeat("9", 300),
		"a surrogate pair":             `"\ud83d\ude00"`,
		"an escaped backslash, u0000":  `"\\u0000"`,
		"three escaped backslashes":    `"\\\\\\u0000"`,
		"other control characters":     `"\u0001\u001f\n"`,
		"U+FFFD":                       `"\ufffd�"`,
		"duplicates where none forbid": `{"x":{"a":1,"a":2}}`,
		"the same name in two objects": `{"a":{"a":{"a":1}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := strictjson.Check([]byte(doc), strictjson.Rules{MaxDepth: levels}); err != nil {
				t.Errorf("Check(%.60s) = %v", doc, err)
			}
		})
	}
}

func TestCheckRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, doc, field, message string
	}{
		{"nothing", ``, "", "empty"},
		{"space", " \n", "", "empty"},
		{"half an object", `{"a":`, "a", "ends in the middle"},
		{"half a string", `{"a":"b`, "a", "ends in the middle"},
		{"no JSON", `{a:1}`, "", "valid JSON"},
		{"a trailing comma", `[1,]`, "[1]", "valid JSON"},
		{"a second value", `{} {}`, "", "nothing after it"},
		{"a stray brace", `{}}`, "", "nothing after it"},
		{"a byte order mark", "\xef\xbb\xbf{}", "", "byte order mark"},
		{"invalid UTF-8", "{\"a\":\"\xff\"}", "a", "UTF-8"},
		{"invalid UTF-8 in a name", "{\"\xff\":1}", "", "UTF-8"},
		{"an encoded surrogate", "\"\xed\xa0\x80\"", "", "UTF-8"},
		{"a lone high surrogate", `{"a":["x","\ud800"]}`, "a[1]", "surrogate"},
		{"a lone low surrogate", `"\udc00"`, "", "surrogate"},
		{"a high surrogate before a letter", `"\ud800x"`, "", "surrogate"},
		{"a high surrogate before another", `"\ud800\ud800"`, "", "surrogate"},
		{"a raw NUL", "\"\x00\"", "", "valid JSON"},
		{"an escaped NUL", `{"payload":{"messages":[{"content":"a\u0000"}]}}`, "payload.messages[0].content", `\u0000`},
		{"an escaped NUL after an escaped backslash", `"\\\u0000"`, "", `\u0000`},
		{"an escaped NUL after a harmless one", `"\\u0000\u0000"`, "", `\u0000`},
		{"an escaped NUL in a name", `{"a\u0000":1}`, `["a\x00"]`, `\u0000`},
		{"1e400", `{"a":1e400}`, "a", "floating-point"},
		{"-1e400", `[0,-1e400]`, "[1]", "floating-point"},
		{"1E309", `1E309`, "", "floating-point"},
		{"310 digits", strings.Repeat("9", 310), "", "floating-point"},
		{"one level too deep", nested(levels + 1), strings.Repeat("[0]", levels), "100 levels"},
		{"many levels too deep", strings.Repeat("[", 50_000), strings.Repeat("[0]", levels), "100 levels"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := strictjson.Check([]byte(tt.doc), strictjson.Rules{MaxDepth: levels})
			var e *strictjson.Error
			if !errors.As(err, &e) {
				t.Fatalf("Check(%.60s) = %v, want an *Error", tt.doc, err)
			}
			if e.Field != tt.field || !strings.Contains(e.Message, tt.message) {
				t.Errorf("Check(%.60s) = field %q, %q; want field %q, ...%s...", tt.doc, e.Field, e.Message, tt.field, tt.message)
			}
		})
	}
}

func TestUniqueRefusesTheSecondOfAName(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 100)
	for doc, field := range map[string]string{
		`{}`:                                  "",
		`{"a":1,"b":2,"A":3}`:                 "",
		`{"a":{"x":1,"x":2},"b":{"x":1}}`:     "", // only the document's own
		`{"a":1,"b":2,"a":3}`:                 "request.a",
		`{"a":1,"\u0061":3}`:                  "request.a",
		`{"a b":1,"a b":3}`:                   `request["a b"]`,
		`{"":1,"":3}`:                         `request[""]`,
		`{"` + long + `":1,"` + long + `":2}`: `request["` + long[:64] + `…"]`,
	} {
		members, err := strictjson.Members([]byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		err = strictjson.Unique("request", members)
		var e *strictjson.Error
		if errors.As(err, &e); field == "" && err != nil || field != "" && (e == nil || e.Field != field || e.Message != "must not be given twice") {
			t.Errorf("%s: %v, want field %q", doc, err, field)
		}
	}
}

// What the glance lets pass, the walk must let pass; what it doubts for nothing costs time alone.
func TestGlanceAndWalkAgree(t *testing.T) {
	t.Parallel()
	for doc, glance := range map[string]bool{
		`{"a":[1,-2.5,0,"e",true,false,null]}`: true,
		`{"id":"7e5","b":"1e999","c":"[[[[{"}`: true, // inside strings
		`"a\\"`:                                true,
		`{"a\\":"\"1e9","b":"\\\"1e9"}`:        true,
		nested(3):                              true,
		nested(4):                              false, // too deep
		`[[],[],[],[[]],{}]`:                   true,
		`[1e2]`:                                false, // small enough, but it has to be looked at
		`[1e999]`:                              false,
		`[` + strings.Repeat("9", 299) + `]`:   true,
		`[` + strings.Repeat("9", 300) + `]`:   false,
		`["\u0000"]`:                           false,
		`["\\u0000"]`:                          false,
		`["\ud800"]`:                           false,
		`{} {}`:                                false,
		``:                                     false,
	} {
		if got := strictjson.Harmless([]byte(doc), 3); got != glance {
			t.Errorf("the glance at %.40s says %v, want %v", doc, got, glance)
		}
		if err := strictjson.Walk([]byte(doc), strictjson.Rules{MaxDepth: 3}); glance && err != nil {
			t.Errorf("the glance lets %.40s pass, the walk says %v", doc, err)
		}
	}
}

func TestCheckWritesFieldsAfterRoot(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 1000)
	for doc, field := range map[string]string{
		`{"a":{"b":1e400}}`:         "payload.a.b",
		`[[1e400]]`:                 "payload[0][0]",
		`{"a b":1e400}`:             `payload["a b"]`,
		`{"a.b":1e400}`:             `payload["a.b"]`,
		`{"":1e400}`:                `payload[""]`,
		`{"` + long + `":1e400}`:    `payload["` + strings.Repeat("é", 32) + `…"]`,
		`{"x":[{},{"y":[1,1e400]}]`: "payload.x[1].y[1]",
		`1e400`:                     "payload",
	} {
		err := strictjson.Check([]byte(doc), strictjson.Rules{Root: "payload"})
		var e *strictjson.Error
		if !errors.As(err, &e) || e.Field != field {
			t.Errorf("Check(%.40s) = %v, want field %s", doc, err, field)
		}
	}
}

func TestErrorNamesTheField(t *testing.T) {
	t.Parallel()
	if got := strictjson.Errorf("a.b", "must be %d", 1).Error(); got != "a.b: must be 1" {
		t.Errorf("with a field: %q", got)
	}
	if got := strictjson.Errorf("", "must be an object").Error(); got != "must be an object" {
		t.Errorf("without a field: %q", got)
	}
}

// A batch may be 32 MiB: what checking it allocates must not grow with it.
func TestCheckAllocatesLittle(t *testing.T) {
	doc := []byte(`[` + strings.Repeat(`{"type":"a","payload":{"messages":[{"role":"user","content":"hello \u00e9"}],"n":1.5e3}},`, 5000) + `0]`)
	rules := strictjson.Rules{MaxDepth: levels}
	perRun := testing.AllocsPerRun(5, func() {
		if err := strictjson.Check(doc, rules); err != nil {
			t.Fatal(err)
		}
	})
	if perRun > 100 {
		t.Errorf("%.0f allocations for 5,000 elements, want at most 100", perRun)
	}
}

func FuzzCheck(f *testing.F) {
	for _, s := range []string{
		`{"a":[1,"b",true,null,{"a":1e308}]}`, `"\ud83d\ude00\\u0000"`, `1e400`, `"\ud800"`, "\"\xff\"", "\xef\xbb\xbf1",
		`{"payload":{"request":{"a":1,"a":2}}}`, nested(101), ` [ 1 , 2 ] `, `{}{}`, `-0`, `"a\u0000"`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		before := bytes.Clone(doc)
		err := strictjson.Check(doc, strictjson.Rules{MaxDepth: levels})
		members, membersErr := strictjson.Members(doc)
		elements, elementsErr := strictjson.Elements(doc, 10)
		if !bytes.Equal(doc, before) {
			t.Fatal("the document was changed")
		}
		if strictjson.Harmless(doc, levels) && strictjson.Walk(doc, strictjson.Rules{MaxDepth: levels}) != nil {
			t.Fatal("the glance lets pass what the walk refuses")
		}
		if err != nil {
			return
		}
		roundTrips(t, doc)
		if membersErr == nil && elementsErr == nil {
			t.Error("both an object and an array")
		}
		for _, m := range members {
			if !json.Valid(m.Value) {
				t.Errorf("member %q is %q", m.Name, m.Value)
			}
		}
		for _, e := range elements {
			if !json.Valid(e) {
				t.Errorf("element %q", e)
			}
		}
	})
}

// roundTrips makes sure that an ordinary reader takes the document, and that what
// it writes again is read as the same.
func roundTrips(t *testing.T, doc []byte) {
	t.Helper()
	if !json.Valid(doc) {
		t.Fatal("encoding/json calls it invalid")
	}
	var value any
	if err := json.Unmarshal(doc, &value); err != nil {
		t.Fatalf("encoding/json refuses it: %v", err)
	}
	once, err := json.Marshal(value)
	if err != nil {
		t.Fatalf("it cannot be written again: %v", err)
	}
	if bytes.ContainsRune(once, '\uFFFD') && !bytes.Contains(doc, []byte("\uFFFD")) && !bytes.Contains(bytes.ToLower(doc), []byte(`\ufffd`)) {
		t.Errorf("a character was lost: %q became %q", doc, once)
	}
	if bytes.Contains(once, []byte(`\u0000`)) && !bytes.Contains(once, []byte(`\\u0000`)) {
		t.Errorf("a NUL came through: %q", once)
	}
	if err := json.Unmarshal(once, &value); err != nil {
		t.Fatalf("what was written cannot be read: %v", err)
	}
	if twice, _ := json.Marshal(value); !bytes.Equal(once, twice) {
		t.Errorf("%q became %q", once, twice)
	}
}

func BenchmarkCheck(b *testing.B) {
	doc := []byte(`{"messages":[` + strings.Repeat(`{"role":"user","content":"`+strings.Repeat("lorem ipsum ", 80)+`"},`, 1000) + `{}]}`)
	b.SetBytes(int64(len(doc)))
	for b.Loop() {
		if err := strictjson.Check(doc, strictjson.Rules{MaxDepth: levels}); err != nil {
			b.Fatal(err)
		}
	}
}
