package e2e

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/sluicedev/sluice/pkg/llm/llmtest"
)

// A worker is frozen for longer than it takes to be dead: others do its jobs, and what its calls bring when it wakes up
// changes nothing. It goes on under a new name.
func TestAFrozenWorkersLateResultsChangeNothing(t *testing.T) {
	t.Parallel()
	s := start(t, llmtest.WithScript(llmtest.Script{}))
	frozen := s.worker("SLUICE_DEATH_AFTER=6s")
	s.enqueue("diary.entry", "warm up")
	s.untilDone(1)
	s.sim.Hold()
	for i := range 5 {
		s.enqueue("diary.entry", fmt.Sprint("job ", i))
	}
	if err := s.sim.AwaitHeld(t.Context(), 5); err != nil {
		t.Fatal(err)
	}
	signal(t, frozen, syscall.SIGSTOP)
	s.sim.Release() // the answers wait in the frozen worker's sockets
	s.worker("SLUICE_DEATH_AFTER=6s")
	s.untilDone(6)
	const ends = `select md5(string_agg(j::text, ',' order by id)) from jobs j`
	var before, after string
	if err := s.db.QueryRow(t.Context(), ends).Scan(&before); err != nil {
		t.Fatal(err)
	}
	signal(t, frozen, syscall.SIGCONT)
	s.until("it goes on under a new name", func() bool { return s.count(`select count(*) from workers`) == 2 })
	if err := s.db.QueryRow(t.Context(), ends).Scan(&after); err != nil {
		t.Fatal(err)
	}
	if before != after {
		t.Error("late results changed jobs that others had done")
	}
	if n := s.count(`select count(*) from attempts where number = 1 and outcome = 'lost' and charged`); n != 5 {
		t.Errorf("%d lost attempts, want 5", n)
	}
	if n := s.count(`select count(*) from attempts where number = 2 and outcome = 'ok'`); n != 5 {
		t.Errorf("%d jobs done at their second try, want 5", n)
	}
	if err := frozen.terminate(); err != nil {
		t.Errorf("the worker ended with %v", err)
	}
}

func signal(t *testing.T, p *process, sig syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}
