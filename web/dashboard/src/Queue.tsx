import type { QueueCounts } from '@sluice/react'
import { count, span } from './words.js'

const shown = ['queued', 'running', 'delayed', 'failed', 'done'] as const

/** How much there is to do, and since when the oldest waits. */
export function Queue({ queue }: { queue: QueueCounts | undefined }) {
  return (
    <section aria-label="Queue" className="card queue">
      <h2>Queue</h2>
      {queue ? (
        <ul className="counts">
          {shown.map((state) => (
            <li key={state} data-state={state} data-some={queue[state] > 0}>
              <b>{count(queue[state])}</b> {state}
            </li>
          ))}
          <li className="oldest">{queue.queued ? <>oldest waits for <b>{span(queue.oldest_queued_seconds)}</b></> : 'nothing waits'}</li>
        </ul>
      ) : (
        <p className="muted">Loading…</p>
      )}
    </section>
  )
}
