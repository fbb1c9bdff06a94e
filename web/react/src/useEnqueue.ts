import { useCallback, useRef, useState } from 'react'
import { SluiceError, startsNow, type EnqueueRequest, type EnqueueResponse, type Waiting } from './client.js'
import { useMessages, useSluiceClient } from './SluiceProvider.js'
import { randomKey } from './submit.js'
import { useLatest } from './useLatest.js'

export interface UseEnqueueOptions {
  /** The job waits: show `message` ("Added to the queue. It starts as soon as there is capacity.") as a toast. */
  onQueued?(message: string, answer: EnqueueResponse): void
  /** The job starts at once. */
  onStarted?(answer: EnqueueResponse): void
  onError?(error: SluiceError): void
}

/** How the latest submit went. */
export interface Submission {
  phase: 'idle' | 'submitting' | 'started' | 'queued' | 'failed'
  /** The job's id, for `useAiJob`. */
  id: string | null
  /** Why the job did not start at once. */
  waiting: Waiting | null
  error?: SluiceError
}

export interface Enqueue extends Submission {
  /**
   * Submits a job. Never rejects: without an answer the `error` says why. The same body again, while no answer has
   * come, is the same submit: it goes out under the same key, and there is one job.
   */
  enqueue(body: EnqueueRequest): Promise<EnqueueResponse | undefined>
  /** Back to `idle`. */
  reset(): void
}

const idle: Submission = { phase: 'idle', id: null, waiting: null }

/** A submit that nobody has answered yet. */
interface Unanswered {
  key: string
  underway?: Promise<EnqueueResponse | undefined>
}

/** Enqueues jobs, each once, and tells whether the work starts now or waits. */
export function useEnqueue(options: UseEnqueueOptions = {}): Enqueue {
  const client = useSluiceClient()
  const messages = useMessages()
  const [submission, setSubmission] = useState(idle)
  const unanswered = useRef<Record<string, Unanswered>>({}) // by body
  const newest = useRef<Unanswered>(undefined)
  const latest = useLatest({ options, messages })

  const enqueue = useCallback(
    (body: EnqueueRequest) => {
      const submits = unanswered.current
      const text = JSON.stringify(body)
      const submit = (submits[text] ??= { key: randomKey() })

      const tell = (now: Submission) => {
        if (newest.current === submit) setSubmission(now)
      }
      newest.current = submit
      tell({ ...idle, phase: 'submitting' })

      const send = async () => {
        const answer = await client.enqueue(body, { idempotencyKey: submit.key }).catch((error: SluiceError) => error)
        const { options, messages } = latest.current
        submit.underway = undefined
        if (answer instanceof SluiceError) {
          // Without an answer the job may well be kept; after a refusal the next submit is another one.
          if (!answer.transient) delete submits[text]
          tell({ ...idle, phase: 'failed', error: answer })
          options.onError?.(answer)
          return undefined
        }
        delete submits[text]
        const { id, waiting } = answer
        const phase = startsNow(answer) ? 'started' : 'queued'
        tell({ phase, id, waiting })
        if (phase === 'started') options.onStarted?.(answer)
        else options.onQueued?.(messages.enqueued, answer)
        return answer
      }
      return (submit.underway ??= send())
    },
    [client],
  )
  const reset = () => {
    newest.current = undefined
    setSubmission(idle)
  }
  return { ...submission, enqueue, reset }
}
