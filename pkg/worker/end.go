package worker

import (
	"encoding/json"
	"time"

	"github.com/sluicedev/sluice/pkg/llm"
	"github.com/sluicedev/sluice/pkg/queue"
)

// The ways in which an attempt ends. They decide where the job goes and whether it is charged, and nothing else.

func done(result json.RawMessage) queue.End {
	return queue.End{Outcome: queue.OK, Charged: true, State: queue.Done, Result: result}
}

// reject fails the job at once: trying again would give the same.
func reject(text string) queue.End {
	return queue.End{Outcome: queue.Rejected, Charged: true, State: queue.Failed, Error: text}
}

// again is a failure that may pass. The last charged try fails the job.
func again(job queue.Claimed, text string, delay time.Duration, charged bool) queue.End {
	end := queue.End{Outcome: queue.Error, Charged: charged, State: queue.Delayed, Delay: delay, Error: text}
	if charged && job.Attempts+1 >= job.MaxAttempts {
		end.State = queue.Failed
	}
	return end
}

func limited(text string, delay time.Duration) queue.End {
	return queue.End{Outcome: queue.RateLimited, State: queue.Delayed, Delay: delay, Error: text}
}

func hold(text string) queue.End {
	return queue.End{Outcome: queue.Held, State: queue.Queued, Error: text}
}

func interrupted(text string) queue.End {
	return queue.End{Outcome: queue.Interrupted, State: queue.Queued, Error: text}
}

func withUsage(end queue.End, usage *llm.Usage) queue.End {
	if usage != nil {
		end.InputTokens, end.OutputTokens = &usage.InputTokens, &usage.OutputTokens
	}
	return end
}
