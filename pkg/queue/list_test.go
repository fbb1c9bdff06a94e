package queue

import (
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
)

func TestListPagesWithoutGapOrRepetition(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ids := f.chats(25)
	f.add(NewJob{Type: "chat", Payload: prompt, Tenant: "acme"})
	var got []uuid.UUID
	for page := (Filter{Tenant: DefaultTenant, Limit: 10}); ; {
		jobs := must[[]Job](f)(f.List(t.Context(), page))
		if len(jobs) == 0 {
			break
		}
		for _, j := range jobs {
			if j.Payload != nil || j.Result != nil {
				t.Error("a list carries payloads or results")
			}
			got = append(got, j.ID)
		}
		page.Before = got[len(got)-1]
		f.chats(3) // new ones come in front, where no later page looks
	}
	if !slices.IsSortedFunc(got, func(a, b uuid.UUID) int { return slices.Compare(b[:], a[:]) }) {
		t.Error("the list is not newest first")
	}
	slices.SortFunc(ids, func(a, b uuid.UUID) int { return slices.Compare(b[:], a[:]) })
	if !slices.Equal(got, ids) {
		t.Errorf("listed %d jobs; want the %d that were there", len(got), len(ids))
	}
}

func TestListFilters(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := f.join("w")
	done, queued := f.inState(Done, w), f.inState(Queued, w)
	chat := f.chats(1)[0]
	f.add(NewJob{Type: "chat", Payload: prompt, Tenant: "acme"})
	for name, c := range map[string]struct {
		filter Filter
		want   []uuid.UUID
	}{
		"all":      {Filter{}, []uuid.UUID{chat, queued, done}},
		"state":    {Filter{State: Done}, []uuid.UUID{done}},
		"type":     {Filter{Type: "patient"}, []uuid.UUID{queued, done}},
		"both":     {Filter{Type: "patient", State: Queued}, []uuid.UUID{queued}},
		"limit":    {Filter{Limit: 1}, []uuid.UUID{chat}},
		"too much": {Filter{Limit: MaxPage + 1}, []uuid.UUID{chat, queued, done}},
	} {
		c.filter.Tenant = DefaultTenant
		got := of(must[[]Job](f)(f.List(t.Context(), c.filter)), func(j Job) uuid.UUID { return j.ID })
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v; want %v", name, got, c.want)
		}
	}
	counts := must[Counts](f)(f.Counts(t.Context(), "acme"))
	if counts.Queued != 1 || counts.Done != 0 {
		t.Errorf("acme counts %+v", counts)
	}
}

// Ids sort by the moment of their making, whichever session made them.
func TestIDsAreOrderedByTime(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ids := one[[]uuid.UUID](f, `select array_agg(id) from (select uuid_v7() as id, pg_sleep(0.00002) from generate_series(1, 1000)) i`)
	for i, id := range ids {
		if id.Version() != 7 || id.Variant() != uuid.RFC4122 {
			t.Fatalf("%s is no version 7", id)
		}
		if i > 0 && slices.Compare(ids[i-1][:], id[:]) >= 0 {
			t.Fatalf("%s comes before %s", id, ids[i-1])
		}
	}
	sec, nsec := ids[0].Time().UnixTime()
	if at := time.Unix(sec, nsec); one[time.Time](f, `select clock_timestamp()`).Sub(at).Abs() > time.Minute {
		t.Errorf("the id says %v", at)
	}
}

func TestPosition(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ids := f.chats(5)
	urgent := f.add(NewJob{Type: "chat", Payload: prompt, Priority: new(1)})[0]
	f.add(NewJob{Type: "free", Payload: prompt, Priority: new(1)})
	for id, want := range map[uuid.UUID]int{urgent: 0, ids[0]: 1, ids[4]: 5} {
		wantAhead(f, id, want, 0)
	}
	f.add(NewJob{Type: "chat", Payload: prompt, Tenant: "other", Priority: new(2)})
	wantAhead(f, ids[0], 2, 1)
	f.chats(MaxPosition + 50)
	last := f.chats(1)[0]
	wantAhead(f, last, MaxPosition, 1)
}

func wantAhead(f fixture, id uuid.UUID, ahead, others int) {
	f.Helper()
	if a, o, err := f.Position(f.Context(), f.get(id)); err != nil || a != ahead || o != others {
		f.Errorf("%d are ahead, %d of others, %v; want %d and %d", a, o, err, ahead, others)
	}
}

func TestWaitingInFlightServedAndBacklog(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := f.join("w")
	f.chats(3)
	f.add(NewJob{Type: "free", Payload: prompt}, NewJob{Type: "patient", Payload: prompt})
	f.claim(w, 2)
	if lines := f.look("").Waiting; !slices.Equal(lines, []string{"free", gpt5}) {
		t.Errorf("waiting are %v", lines)
	}
	for tenant, want := range map[string]int64{"": 2, DefaultTenant: 2, "nobody": 0} {
		if running := must[map[string]int64](f)(f.InFlight(t.Context(), tenant)); running[gpt5] != want || len(running) > 1 {
			t.Errorf("in flight of %q are %v", tenant, running)
		}
	}
	if !must[bool](f)(f.Served(t.Context(), "chat")) || must[bool](f)(f.Served(t.Context(), "nope")) {
		t.Error("Served knows not who serves")
	}
	if n := must[int64](f)(f.Backlog(t.Context())); n != 3 {
		t.Errorf("the backlog is %d; want 3", n)
	}
	f.expire()
	if n := must[int64](f)(f.Backlog(t.Context())); n != 2 {
		t.Errorf("the backlog is %d; want 2 without the expired one", n)
	}
	f.exec(`update upstreams set state = 'open', reason = 'failures', opened_at = now(), retry_at = now() where name = $1`, gpt5)
	if n := must[int64](f)(f.Backlog(t.Context())); n != 1 {
		t.Errorf("the backlog is %d; want the one of no upstream", n)
	}
}
