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
		listed := must[Page](f)(f.List(t.Context(), page))
		for _, j := range listed.Jobs {
			if j.Payload != nil || j.Result != nil {
				t.Error("a list carries payloads or results")
			}
			got = append(got, j.ID)
		}
		if page.Before = listed.Next; page.Before == uuid.Nil {
			break
		}
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
		got := of(must[Page](f)(f.List(t.Context(), c.filter)).Jobs, func(j Job) uuid.UUID { return j.ID })
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v; want %v", name, got, c.want)
		}
	}
	history(f, "initech", MaxPage+1)
	if page := must[Page](f)(f.List(t.Context(), Filter{Tenant: "initech", Limit: MaxPage + 1})); len(page.Jobs) != MaxPage {
		t.Errorf("%d jobs in a page; want %d", len(page.Jobs), MaxPage)
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
	f.exec(`update workers set lines = $1`, []string{gpt5})
	for of, want := range map[[2]string]bool{{"chat", gpt5}: true, {"nope", gpt5}: false, {"chat", "openai:other"}: false} {
		if served := must[bool](f)(f.Served(t.Context(), of[0], of[1])); served != want {
			t.Errorf("%v is served: %t", of, served)
		}
	}
	f.exec(`update workers set lines = null`) // the previous release's tell none
	if !must[bool](f)(f.Served(t.Context(), "chat", gpt5)) {
		t.Error("a worker that tells no lines serves none")
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

// history has n jobs of a tenant that are done, and after them the few that a list has to find.
func history(f fixture, tenant string, n int) {
	f.Helper()
	f.exec(`insert into jobs (tenant, type, state, priority, payload, attempts, max_attempts, lease, finished_at, result, upstream)
		select $1, 'chat', 'done', 5, '{}', 1, 3, 1, now(), '{}', $3 from generate_series(1, $2)`, tenant, n, gpt5)
}

// A list by state reads what it lists, not the history: here by the rows of jobs that each statement touches.
func TestListsByStateDoNotReadTheHistory(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := f.join("w")
	want := map[State]uuid.UUID{}
	for _, state := range []State{Delayed, Running, Failed, Cancelled, Queued} { // a queued one would be claimed
		want[state] = f.inState(state, w)
	}
	history(f, DefaultTenant, 5*glance)
	f.exec(`analyze`)
	for state, id := range want {
		page := must[Page](f)(f.List(t.Context(), Filter{Tenant: DefaultTenant, State: state}))
		if len(page.Jobs) != 1 || page.Jobs[0].ID != id || page.Next != uuid.Nil {
			t.Errorf("%s: %d jobs, next %s; want the one that is", state, len(page.Jobs), page.Next)
		}
		most := 10
		if state == Queued || state == Delayed {
			most += 2 * glance
		}
		if n := touched(f, Filter{Tenant: DefaultTenant, State: state}); n > most {
			t.Errorf("%s: %d rows of jobs were read for one", state, n)
		}
	}
	for range 20 {
		f.inState(Cancelled, w)
	}
	if n := touched(f, Filter{Tenant: DefaultTenant, State: Failed}); n > 10 {
		t.Errorf("%d rows of jobs were read for one that failed among those that were cancelled", n)
	}
	f.chats(50)
	for _, state := range []State{Done, Queued} {
		if n := touched(f, Filter{Tenant: DefaultTenant, State: state, Limit: 50}); n > 250 {
			t.Errorf("%s: %d rows of jobs were read for 50", state, n)
		}
		if page := must[Page](f)(f.List(t.Context(), Filter{Tenant: DefaultTenant, State: state, Limit: 50})); len(page.Jobs) != 50 {
			t.Errorf("%s: %d jobs in a page; want 50", state, len(page.Jobs))
		}
	}
}

// Where a state's ids stand with those of other tenants, or from before, they take no place in a page.
func TestOthersTakeNoPlaceInAPage(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := f.join("w")
	acmes := func(delay *time.Duration) {
		f.Helper()
		f.add(slices.Repeat([]NewJob{{Type: "chat", Payload: prompt, Tenant: "acme", Delay: delay}}, 3)...)
	}
	running := []uuid.UUID{f.inState(Running, w), f.chats(1)[0]}
	f.end(w, End{JobID: running[1], Lease: f.claimOne(w).Lease, Outcome: Interrupted, State: Queued})
	f.claimOne(w) // the same once more, by the same worker
	f.inState(Done, w)
	acmes(nil)
	f.claim(w, 3)
	delayed := []uuid.UUID{f.inState(Delayed, w), f.inState(Delayed, w)}
	acmes(new(time.Hour))
	queued := f.chats(2)
	acmes(nil)
	history(f, DefaultTenant, glance) // so that the newest jobs tell nothing
	for state, want := range map[State][]uuid.UUID{Running: running, Delayed: delayed, Queued: queued} {
		slices.Reverse(want)
		page := must[Page](f)(f.List(t.Context(), Filter{Tenant: DefaultTenant, State: state, Limit: 2}))
		if got := of(page.Jobs, func(j Job) uuid.UUID { return j.ID }); !slices.Equal(got, want) {
			t.Errorf("%s: %v; want %v", state, got, want)
		}
	}
}

// touched counts the rows of jobs, and of its indexes, that a list reads.
func touched(f fixture, filter Filter) (n int) {
	f.Helper()
	tx := f.begin()
	const sql = `select seq_tup_read + coalesce(idx_tup_fetch, 0) from pg_stat_xact_user_tables where relname = 'jobs'`
	var before int
	if err := tx.QueryRow(f.Context(), sql).Scan(&before); err != nil {
		f.Fatal(err)
	}
	must[Page](f)(f.With(tx).List(f.Context(), filter))
	if err := tx.QueryRow(f.Context(), sql).Scan(&n); err != nil {
		f.Fatal(err)
	}
	return n - before
}

// A page looks at so many jobs and no more, and the next one goes on where it ended: what is rare is found all the same.
func TestPagesOfWhatIsRareAreBounded(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	rare := f.add(NewJob{Type: "free", Payload: prompt}, NewJob{Type: "free", Payload: prompt})
	history(f, DefaultTenant, MaxLook-1)
	of := Filter{Tenant: DefaultTenant, Type: "free"}
	for i, next := range []bool{true, false} { // the last that a page looks at, and the first that it does not
		page := must[Page](f)(f.List(t.Context(), of))
		if len(page.Jobs) != 1 || page.Jobs[0].ID != rare[1-i] || (page.Next != uuid.Nil) != next {
			t.Errorf("at the edge: %d jobs, next %s", len(page.Jobs), page.Next)
		}
		of.Before = page.Next
	}
	history(f, DefaultTenant, 1000)
	first := must[Page](f)(f.List(t.Context(), Filter{Tenant: DefaultTenant, Type: "free"}))
	if len(first.Jobs) != 0 || first.Next == uuid.Nil {
		t.Fatalf("%d jobs, next %s; want none so far and a next page", len(first.Jobs), first.Next)
	}
	if n := touched(f, Filter{Tenant: DefaultTenant, Type: "free"}); n > 7*MaxLook {
		t.Errorf("%d rows were read", n)
	}
	second := must[Page](f)(f.List(t.Context(), Filter{Tenant: DefaultTenant, Type: "free", Before: first.Next}))
	if len(second.Jobs) != 2 || second.Jobs[0].ID != rare[1] || second.Jobs[1].ID != rare[0] || second.Next != uuid.Nil {
		t.Errorf("%d jobs, next %s; want the two and no more", len(second.Jobs), second.Next)
	}
}

// waiting makes jobs that wait, of a type, without a word.
func waiting(f fixture, state State, jobType string, n int) {
	f.Helper()
	f.exec(`insert into jobs (type, state, priority, payload, max_attempts, upstream, scheduled_at)
		select $2, $1, 5, '{}', 3, $4, now() + interval '1 hour' from generate_series(1, $3)`, string(state), jobType, n, gpt5)
	if state == Queued {
		f.exec(`insert into ready (line, priority, seq, job_id, tenant, type, since)
			select upstream, priority, seq, id, tenant, type, now() from jobs where state = 'queued' on conflict do nothing`)
	} else {
		f.exec(`insert into delayed (due_at, job_id, tenant, line) select scheduled_at, id, tenant, upstream from jobs where state = 'delayed' on conflict do nothing`)
	}
}

// Many wait, and none of them is among the newest jobs. The lists are whole all the same, and do not read all jobs.
func TestListsOfManyWhoWait(t *testing.T) {
	t.Parallel()
	for _, state := range []State{Queued, Delayed} {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			waiting(f, state, "free", 3)
			waiting(f, state, "chat", MaxLook/2)
			waiting(f, state, "free", 3)
			history(f, DefaultTenant, 2*glance)
			f.exec(`analyze`)
			for of, c := range map[Filter]struct{ pages, most int }{
				{Tenant: DefaultTenant, State: state, Limit: 25}:               {10, 2*glance + 100},
				{Tenant: DefaultTenant, State: state, Limit: 4, Type: "chat"}:  {5, MaxLook * 3},
				{Tenant: DefaultTenant, State: state, Limit: 25, Type: "free"}: {1, MaxLook * 3},
			} {
				want := one[[]uuid.UUID](f, `select array(select id from jobs where state = $1 and ($2 = '' or type = $2) order by id desc limit $3)`, string(state), of.Type, of.Limit*c.pages)
				if n := touched(f, of); n > c.most {
					t.Errorf("%s %s: %d rows of jobs were read", state, of.Type, n)
				}
				var got []uuid.UUID
				for range c.pages {
					page := must[Page](f)(f.List(t.Context(), of))
					for _, j := range page.Jobs {
						got = append(got, j.ID)
					}
					of.Before = page.Next
				}
				if !slices.Equal(got, want) {
					t.Errorf("%s %s: %d jobs, want the newest %d", state, of.Type, len(got), len(want))
				}
			}
		})
	}
}

// Whatever the sample holds, from next to nothing to the very newest, a page is full. It is another one with each list.
func TestASampleCutsNoPage(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	waiting(f, Queued, "free", 30)
	waiting(f, Queued, "chat", 150) // two pages of the table: some of the samples have the newest
	f.exec(`with acmes as (update jobs set tenant = 'acme' where id = any (array(select id from jobs order by id desc limit 50)) returning id)
		update ready set tenant = 'acme' where job_id = any (array(select id from acmes))`)
	history(f, DefaultTenant, glance)
	waiting(f, Queued, "chat", 5) // which are among the newest jobs
	for i := range 500 {
		jobType := []string{"", "free"}[i%2]
		if page := must[Page](f)(f.List(t.Context(), Filter{Tenant: DefaultTenant, State: Queued, Type: jobType, Limit: 25})); len(page.Jobs) != 25 {
			t.Fatalf("%d jobs of type %q; want 25", len(page.Jobs), jobType)
		}
	}
}

// Of more delayed jobs than a list looks at those of a type are found by pages.
func TestPagesOfATypeAmongManyDelayed(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	waiting(f, Delayed, "free", 1)
	few := must[bool](f)(f.manyDelayed(t.Context(), DefaultTenant))
	waiting(f, Delayed, "chat", MaxLook+1000)
	if many := must[bool](f)(f.manyDelayed(t.Context(), DefaultTenant)); few || !many {
		t.Errorf("one is many: %t; %d are: %t", few, MaxLook+1001, many)
	}
	of := Filter{Tenant: DefaultTenant, State: Delayed, Type: "free"}
	if n := touched(f, of); n > 7*MaxLook {
		t.Errorf("%d rows were read", n)
	}
	first := must[Page](f)(f.List(t.Context(), of))
	if len(first.Jobs) != 0 || first.Next == uuid.Nil {
		t.Fatalf("%d jobs, next %s; want none so far and a next page", len(first.Jobs), first.Next)
	}
	of.Before = first.Next
	if second := must[Page](f)(f.List(t.Context(), of)); len(second.Jobs) != 1 || second.Next != uuid.Nil {
		t.Errorf("%d jobs, next %s; want the one and no more", len(second.Jobs), second.Next)
	}
}

// What was deleted by hand leaves its row in ended: it hides nobody, and a retried job is in no list of failed ones.
func TestListsOfEndedJobs(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := f.join("w")
	for _, state := range []State{Cancelled, Failed} {
		first, gone, again := f.inState(state, w), f.inState(state, w), f.inState(state, w)
		f.exec(`delete from jobs where id = $1`, gone)
		must[Job](f)(f.Retry(t.Context(), DefaultTenant, again))
		page := must[Page](f)(f.List(t.Context(), Filter{Tenant: DefaultTenant, State: state, Limit: 1}))
		if len(page.Jobs) != 1 || page.Jobs[0].ID != first {
			t.Errorf("%v; want the one that is %s", page.Jobs, state)
		}
		must[Job](f)(f.Cancel(t.Context(), DefaultTenant, again)) // else it would be claimed
		f.exec(`delete from jobs where id = $1`, again)
	}
	f.exec(`truncate ended`)
	if _, found, err := f.Repair(t.Context(), uuid.Nil); err != nil || found != 2 {
		t.Errorf("repaired %d, %v", found, err)
	}
	for _, state := range []State{Cancelled, Failed} {
		if page := must[Page](f)(f.List(t.Context(), Filter{Tenant: DefaultTenant, State: state})); len(page.Jobs) != 1 {
			t.Errorf("%s after the repair: %v", state, page.Jobs)
		}
	}
}
