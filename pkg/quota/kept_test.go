package quota_test

import (
	"encoding/json"
	"math"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sluicedev/sluice/pkg/quota"
)

// numbers are those that are kept in nine digits.
func numbers(q *quota.Quota) (all []*float64) {
	for d := range q.Limits {
		l := &q.Limits[d]
		all = append(all, &l.Level, &l.Remaining, &l.Counted, &l.Dip.Depth, &l.Drain, &l.Price.Charged, &l.Price.Booked)
	}
	return all
}

// Whatever happened to a quota, it is read as it was kept.
func TestWhatIsKeptIsReadAgain(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		q, _ := someHistory(t)
		data, err := json.Marshal(q)
		if err != nil {
			t.Fatal(err)
		}
		var got quota.Quota
		if err := json.Unmarshal(data, &got); err != nil {
			t.Fatal(err)
		}
		exact := numbers(&q)
		for i, v := range numbers(&got) {
			if math.Abs(*v-*exact[i]) > 1e-8*math.Abs(*exact[i]) {
				t.Fatalf("kept %s: number %d was %v, is %v", data, i, *exact[i], *v)
			}
			*v = *exact[i]
		}
		if !reflect.DeepEqual(got, q) {
			t.Fatalf("kept %s\nread %+v\nwant %+v", data, got, q)
		}
	})
}

// A row must stay small while all is in use, or its updates leave their page.
func TestWhatIsKeptIsSmall(t *testing.T) {
	t.Parallel()
	q := busy(600, 1e6)
	for i := range q.Ring.Requests {
		q.Ring.Requests[i], q.Ring.Tokens[i] = 100, 100_000
	}
	q.Limits[quota.ProjectTokens] = q.Limits[quota.Tokens]
	data, err := json.Marshal(q)
	if err != nil || len(data) > 1300 {
		t.Errorf("%d bytes, %v: %s", len(data), err, data)
	}
}

// While a fleet is upgraded, processes of both versions read and write the same rows.
func TestTheVersionBeforeReadsWhatIsKept(t *testing.T) {
	t.Parallel()
	data, err := json.Marshal(busy(600, 1e6))
	if err != nil {
		t.Fatal(err)
	}
	var before struct {
		Limits [quota.Dimensions]struct{ Limit, Level float64 }
		Ring   struct {
			At               time.Time
			Requests, Tokens [quota.Slots]int32
		}
	}
	if err := json.Unmarshal(data, &before); err != nil || before.Limits[quota.Requests].Limit != 600 || before.Ring.Requests != ([quota.Slots]int32{}) {
		t.Errorf("%v: %+v", err, before)
	}
}

func TestAnUnreadableRingIsEmpty(t *testing.T) {
	t.Parallel()
	for _, ring := range []string{`[1]`, `{"Requests":[1,2],"Tokens":[3]}`, `{"R":"?","T":""}`, `{"R":"AAAA","T":"AAAA"}`, `null`} {
		q := quota.Quota{Ring: quota.Ring{At: start}, Bare: 1}
		if err := json.Unmarshal([]byte(`{"Bare":3,"Ring":`+ring+`}`), &q); err != nil || q.Bare != 3 {
			t.Errorf("%s: %v", ring, err)
		}
		if ring != "null" && q.Ring != (quota.Ring{}) {
			t.Errorf("%s: %+v", ring, q.Ring)
		}
		q.Advance(start.Add(time.Second))
	}
}
