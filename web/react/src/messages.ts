import type { BreakerState, State, Waiting } from './api.js'
import type { EtaRange } from './eta.js'
import type { SluiceError } from './problem.js'

/** Every word that the components show, for an application to put in its own language or tone. */
export interface Messages {
  /** For a toast, when an enqueued job has to wait. */
  enqueued: string
  /** Accessible name of a job's progress. */
  job: string
  /** A job's state. */
  state: Record<State | 'loading', string>
  /** Why a job waits. By default the server's own sentence. */
  sentence(waiting: Waiting): string
  /** Why a job waits while others came in front, so that the server's sentence names a place that is worse than before. */
  overtaken(waiting: Waiting): string
  /** A place in the line. 1 is next; 1,001 means that it is more than 1,000. */
  place(place: number): string
  /** When a job starts, roughly. */
  eta(range: EtaRange): string
  /** Seconds to the next try, counted down. */
  nextTry(seconds: number): string
  cancel: string
  retry: string
  /** Why a job failed, in the words of whoever refused it, if there are any. */
  failure(lastError: string | null): string
  /** Why there is no news of a job or of the queue. */
  trouble(error: SluiceError): string
  offline: string
  /** Accessible name of the indicators. */
  indicators: string
  count: Record<'queued' | 'delayed' | 'running' | 'failed', string>
  /** The providers behind the queue, by the worst breaker. */
  breaker: Record<BreakerState | 'unknown', string>
}

/** The messages in English. */
export const english: Messages = {
  enqueued: 'Added to the queue. It starts as soon as there is capacity.',
  job: 'AI job',
  state: {
    loading: 'Loading',
    queued: 'Waiting',
    delayed: 'Waiting',
    running: 'Working on it',
    done: 'Done',
    failed: 'Failed',
    cancelled: 'Cancelled',
  },
  sentence: ({ sentence }) => sentence,
  overtaken: () => 'More urgent jobs came in front; nothing is lost.',
  place: (place) => (place === 1 ? 'Next in line' : place > 1000 ? 'More than 1,000 in line' : `About number ${place} in line`),
  eta: ({ from, to, unit }) => (from > 0 ? `${from}-${to} ${unit}` : `under ${to} ${unit}`),
  nextTry: (seconds) => `Next try in ${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`,
  cancel: 'Cancel',
  retry: 'Try again',
  failure: (lastError) => lastError ?? 'The job could not be done.',
  trouble: (error) => (error.transient ? 'No connection; trying again.' : error.message),
  offline: 'You are offline.',
  indicators: 'AI status',
  count: { queued: 'Queued', delayed: 'Delayed', running: 'Running', failed: 'Failed' },
  breaker: {
    closed: 'AI available',
    'half-open': 'AI is being tried again',
    open: 'AI paused; jobs wait',
    unknown: 'AI status unknown',
  },
}
