import { useEffect, useState } from 'react'
import { useSluiceClient, type Job } from '@sluice/react'
import { clock, exactSpan, span } from './words.js'

const lookAgain = 2000 // ms, while a try is under way

type Attempt = NonNullable<ReturnType<typeof useAttempts>>[number]

/** Every try of a job, as a timeline. */
export function Attempts({ id, job }: { id: string; job: Job }) {
  const attempts = useAttempts(id, job.updated_at)
  if (!attempts?.length) return null
  return (
    <>
      <h3 id="attempts">Attempts</h3>
      <ol aria-labelledby="attempts" className="timeline">
        {attempts.map((attempt) => (
          <li key={attempt.number} data-outcome={attempt.outcome ?? 'running'}>
            <p>
              <b>{attempt.number}</b> <b>{outcomeWords[attempt.outcome ?? 'running'] ?? attempt.outcome}</b> {facts(attempt)}
            </p>
            {attempt.error && <p className="error">{attempt.error}</p>}
          </li>
        ))}
      </ol>
    </>
  )
}

const outcomeWords: Record<string, string> = {
  running: 'under way',
  ok: 'ok',
  rate_limited: 'rate limited',
  held: 'held back',
  rejected: 'rejected',
  error: 'error',
  lost: 'lost with its worker',
  interrupted: 'interrupted',
  cancelled: 'cancelled',
}

/** What is known of a try beside its outcome. */
export function facts({ status, started_at, finished_at, retry_after_ms, charged, outcome }: Attempt): string {
  return [
    status && `status ${status}`,
    finished_at && `took ${exactSpan(Date.parse(finished_at) - Date.parse(started_at))}`,
    retry_after_ms && `retry after ${span(retry_after_ms / 1000)}`,
    outcome && outcome !== 'ok' && !charged && 'not counted',
    `at ${clock(started_at)}`,
  ].filter(Boolean).join(' · ')
}

/** Reads the tries whenever the job has changed, and again while one of them is under way. */
function useAttempts(id: string, updatedAt: string) {
  const client = useSluiceClient()
  const read = () => client.request('get', '/api/ai/jobs/{id}/attempts', { path: { id } })
  const [attempts, setAttempts] = useState<Awaited<ReturnType<typeof read>>['attempts']>()
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined
    let left = false
    const look = async () => {
      const answer = await read().catch(() => undefined)
      if (left) return
      if (answer) setAttempts(answer.attempts)
      if (!answer || answer.attempts.some(({ outcome }) => !outcome)) timer = setTimeout(look, lookAgain)
    }
    void look()
    return () => {
      left = true
      clearTimeout(timer)
    }
  }, [id, updatedAt])
  return attempts
}
