package strictjson_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/sluicedev/sluice/pkg/strictjson"
)

func TestMembersKeepsTheBytes(t *testing.T) {
	t.Parallel()
	raw := []byte(` { "z" : 1e2 , "\u0061": {"y": 1,  "x":"\u00e9"} ,"z":"é", "e":[ ] } `)
	want := []struct{ name, value string }{
		{"z", `1e2`}, {"a", `{"y": 1,  "x":"\u00e9"}`}, {"z", `"é"`}, {"e", `[ ]`},
	}
	got, err := strictjson.Members(raw)
	if err != nil || len(got) != len(want) {
		t.Fatalf("Members = %v, %v", got, err)
	}
	for i, w := range want {
		if got[i].Name != w.name || string(got[i].Value) != w.value {
			t.Errorf("member %d is %s: %s, want %s: %s", i, got[i].Name, got[i].Value, w.name, w.value)
		}
	}
	if _ = append(got[0].Value, "garbage"...); !strings.Contains(string(raw), `1e2 , "\u0061"`) {
		t.Errorf("appending to a value wrote over its neighbour: %s", raw)
	}
}

func TestElementsKeepsTheBytes(t *testing.T) {
	t.Parallel()
	got, err := strictjson.Elements([]byte(` [ {"b":1, "a":2} ,1e2,"\u00e9" ] `), 3)
	if err != nil || len(got) != 3 || string(got[0]) != `{"b":1, "a":2}` || string(got[1]) != `1e2` || string(got[2]) != `"\u00e9"` {
		t.Errorf("Elements = %s, %v", got, err)
	}
	if got, err := strictjson.Elements([]byte(`[]`), 0); err != nil || len(got) != 0 {
		t.Errorf("Elements of nothing = %s, %v", got, err)
	}
	if got, err := strictjson.Elements([]byte(`[1,2,3,4]`), 3); err == nil || !strings.Contains(err.Error(), "at most 3") {
		t.Errorf("Elements past the limit = %s, %v", got, err)
	}
}

func TestSplitRefuses(t *testing.T) {
	t.Parallel()
	for _, doc := range []string{``, `null`, `"a"`, `1`, `{"a":1`, `{"a"}`, `{"a":1}x`, `{"a":"\ud800"}`, `[1`, `[1]]`, `nul`, `[}`} {
		var e *strictjson.Error
		if got, err := strictjson.Members([]byte(doc)); !errors.As(err, &e) {
			t.Errorf("Members(%s) = %v, %v, want an *Error", doc, got, err)
		}
		if got, err := strictjson.Elements([]byte(doc), 10); !errors.As(err, &e) {
			t.Errorf("Elements(%s) = %v, %v, want an *Error", doc, got, err)
		}
	}
}
