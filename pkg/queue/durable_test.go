package queue

import (
	"slices"
	"testing"

	"github.com/sluicedev/sluice/pkg/pg/pgtest"
)

// What a job went through is told only when it is on disk: after a crash that forgets a claim, a lease's number would be given
// twice.
func TestWhatIsToldOfAJobIsOnDisk(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	pgtest.KeepCommits(t, f.db, "jobs")

	dead := f.join("dead")
	for _, state := range []State{Running, Done, Failed, Cancelled, Delayed, Queued} {
		f.inState(state, dead)
	}
	f.chats(bulkJobs)
	must[Job](f)(f.Retry(f.Context(), DefaultTenant, f.inState(Cancelled, dead)))
	f.due()
	must[int](f)(f.Promote(f.Context()))
	must[bool](f)(f.Bury(f.Context(), dead, 0))
	must[int](f)(f.Rescue(f.Context()))

	states := one[[]string](f, `select array_agg(distinct state order by state) from kept`)
	if !slices.Equal(states, []string{"cancelled", "delayed", "done", "failed", "queued", "running"}) {
		t.Errorf("seen were %v", states)
	}
	if lax := one[[]string](f, `select coalesce(array_agg(distinct state || ' ' || how), '{}') from kept where how <> 'on'`); len(lax) > 0 {
		t.Errorf("not waited for: %v", lax)
	}
}
