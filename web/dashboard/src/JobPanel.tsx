import { useEffect, useRef } from 'react'
import { useAiJob, useMessages, type AiJob, type State } from '@sluice/react'
import { Attempts } from './Attempts.js'
import { StateBadge } from './Jobs.js'
import { Payload } from './Payload.js'
import { goTo } from './place.js'
import { useNow } from './useNow.js'
import { span } from './words.js'

/** One job: where it is, what it waits for, every try, and what came of it. */
export function JobPanel({ id, state }: { id: string; state: State | null }) {
  const followed = useAiJob(id)
  const { job, error } = followed
  const heading = useRef<HTMLHeadingElement>(null)
  useEffect(() => heading.current?.focus(), [])
  const close = () => {
    goTo({ state, job: null })
    document.querySelector<HTMLElement>(`a[title="${id}"]`)?.focus() // back to where it was opened
  }
  return (
    <section aria-label="Job" className="card job">
      <div className="job-head">
        <h2 tabIndex={-1} ref={heading}>Job</h2>
        <Actions {...followed} />
        <button onClick={close}>Close</button>
      </div>
      <p className="id">{id}</p>
      {error && <p role="alert">{error.message}</p>}
      {!job && !error && <p className="muted">Loading…</p>}
      {job && (
        <>
          <p className="facts">
            <StateBadge state={job.state} />
            <span>{job.type}</span>
            {job.upstream && <span>{job.upstream}</span>}
            <span>priority {job.priority}</span>
            <span>{job.attempts} of {job.max_attempts} tries used</span>
          </p>
          <Waiting {...followed} />
          {job.state === 'failed' && <p className="error">{job.last_error}</p>}
          <Attempts id={id} job={job} />
          <Result job={followed} />
          <Payload id={id} />
        </>
      )}
    </section>
  )
}

function Actions({ canCancel, canRetry, cancel, retry, pending }: AiJob) {
  return (
    <>
      {canCancel && <button disabled={!!pending} onClick={cancel}>Cancel</button>}
      {canRetry && <button disabled={!!pending} onClick={retry}>Retry</button>}
    </>
  )
}

/** What stands in the job's way, its place, and when it starts: as a range, because nobody knows better. */
function Waiting({ sentence, position, eta, nextTryAt }: AiJob) {
  const { eta: etaWords, place } = useMessages()
  const now = useNow(nextTryAt !== null)
  if (!sentence) return null
  const left = nextTryAt === null ? 0 : Math.ceil((nextTryAt - now) / 1000)
  return (
    <div className="waiting">
      <p>{sentence}</p>
      <p className="muted">
        {[
          position !== null && place(position),
          eta && `starts in ${etaWords(eta)}`,
          left > 0 && `next try in ${left < 100 ? `${left} s` : span(left)}`,
        ].filter(Boolean).join(' · ')}
      </p>
    </div>
  )
}

function Result({ job: { result } }: { job: AiJob }) {
  if (!result) return null
  return (
    <>
      <h3>Result</h3>
      <pre className="result" tabIndex={0} role="group" aria-label="Result">{result.output_text ?? JSON.stringify(result, null, 2)}</pre>
    </>
  )
}
