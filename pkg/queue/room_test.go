package queue

import (
	"errors"
	"maps"
	"testing"
	"time"
)

func TestDepths(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	if got := must[map[string]int64](f)(f.Depths(t.Context())); len(got) != 0 {
		t.Errorf("of an empty queue: %v", got)
	}
	job := NewJob{Type: "chat", Payload: []byte(`{"input":"x"}`)}
	later, theirs := job, job
	later.Delay, theirs.Tenant = new(time.Hour), "theirs"
	f.add(job, job, later, theirs)
	f.claim(f.join("w"), 1)
	if got := must[map[string]int64](f)(f.Depths(t.Context())); !maps.Equal(got, map[string]int64{DefaultTenant: 2, "theirs": 1}) {
		t.Errorf("got %v: who runs does not wait, who is delayed does", got)
	}
}

func TestFresh(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	job := func(key string) NewJob {
		return NewJob{Type: "chat", Payload: []byte(`{"input":"x"}`), IdempotencyKey: key}
	}
	f.add(job("taken"))
	theirs := job("taken")
	theirs.Tenant = "theirs"
	for want, jobs := range map[int][]NewJob{
		0: {job("taken"), job("taken")},
		1: {job("new"), job("taken"), job("new")},
		2: {job(""), job("")},
		3: {job("new"), job(""), theirs, job("taken")},
	} {
		if got := must[int](f)(f.Fresh(t.Context(), Jobs(jobs...))); got != want {
			t.Errorf("%d of %d are new, want %d", got, len(jobs), want)
		}
	}
	if n := one[int](f, `select count(*) from jobs`); n != 1 {
		t.Errorf("%d jobs: it must store nothing", n)
	}
	bad := job("")
	bad.Type = "no.such"
	var invalid *Invalid
	if _, err := f.Fresh(t.Context(), Jobs(job(""), bad)); !errors.As(err, &invalid) || invalid.Index != 1 || invalid.Field != "type" {
		t.Errorf("got %v", err)
	}
	other := job("k")
	other.Payload = []byte(`{"input":"y"}`)
	var reused *KeyReused
	if _, err := f.Fresh(t.Context(), Jobs(job("k"), other)); !errors.As(err, &reused) || reused.Index != 1 {
		t.Errorf("got %v", err)
	}
}
