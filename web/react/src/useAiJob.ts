import { useEffect, useMemo, useRef, useState } from 'react'
import { isFinal } from './api.js'
import { jobEta, SluiceError, type Connection, type EtaRange, type FollowedJob, type Job, type Result, type Snapshot, type State, type Watch } from './client.js'
import { usePersistedId } from './persist.js'
import { wasOvertaken } from './place.js'
import { useMessages, useSluiceClient } from './SluiceProvider.js'
import { useWatch } from './useWatch.js'

export interface UseAiJobOptions {
  /** Keeps the job's id in sessionStorage under this key: after a reload `useAiJob(null, {persist})` follows the same job. */
  persist?: string
  /** Called for the first state that is known (`before` is undefined) and for each change. The place for a toast. */
  onStateChange?(state: State, job: Job, before: State | undefined): void
}

/** A job as a person follows it. */
export interface AiJob {
  /** Whose progress this is; null: no job is followed. */
  id: string | null
  /** Undefined until there is news. */
  state: State | undefined
  /** All that is known of it. */
  job: FollowedJob | undefined
  /** Why it waits, in words for the person who waits; null unless it does. */
  sentence: string | null
  /** Place in the line, which never goes up while it waits; 1 is next. Null where it is not known. */
  position: number | null
  /** When it starts, as a range; null where nobody can tell, such as while the provider's breaker is open. */
  eta: EtaRange | null
  /** When it is tried next, in milliseconds by this machine's clock, where that has a time of its own. */
  nextTryAt: number | null
  /** What came of it, once it is done. */
  result: Result | null
  /** Why there is no news (404: no such job), or why the last cancel or retry was refused. */
  error: SluiceError | undefined
  connection: Connection
  canCancel: boolean
  canRetry: boolean
  /** What is asked of the server right now. */
  pending: 'cancel' | 'retry' | null
  /** Ends the job. Never rejects: a refusal is the `error`. */
  cancel(): Promise<void>
  /** Queues a failed or cancelled job again. Never rejects: a refusal is the `error`. */
  retry(): Promise<void>
  /** Drops a persisted id. */
  forget(): void
}

const none: Snapshot<FollowedJob> = { data: undefined, error: undefined, connection: 'closed', receivedAt: 0 }
const noJob: Watch<FollowedJob> = { subscribe: () => () => {}, getSnapshot: () => none, getServerSnapshot: () => none }

/** Follows one job; nothing while there is no id. */
export function useAiJob(id: string | null | undefined, options: UseAiJobOptions = {}): AiJob {
  const client = useSluiceClient()
  const messages = useMessages()
  const [followed, forget] = usePersistedId(id, options.persist)
  const { data: job, error, connection, receivedAt } = useWatch(
    useMemo(() => (followed ? client.job(followed) : noJob), [client, followed]),
  )
  const actions = useActions(followed)
  useStateChange(job, options.onStateChange)

  const lost = error?.status === 404
  useEffect(() => {
    if (lost) forget()
  }, [lost])

  const waiting = job?.waiting ?? null
  const eta = job ? jobEta(job) : null
  return {
    ...actions,
    id: followed,
    state: job?.state,
    job,
    sentence: waiting && (wasOvertaken(job) ? messages.overtaken(waiting) : messages.sentence(waiting)),
    position: job?.place ?? null,
    eta,
    nextTryAt: !eta && typeof waiting?.eta_seconds === 'number' ? receivedAt + waiting.eta_seconds * 1000 : null,
    result: job?.result ?? null,
    error: actions.error ?? error,
    connection,
    canCancel: !!job && !isFinal(job.state),
    canRetry: !!job && isFinal(job.state) && job.state !== 'done',
    forget,
  }
}

/** What a person can do to a job, and how that went. */
function useActions(id: string | null): Pick<AiJob, 'pending' | 'error' | 'cancel' | 'retry'> {
  const client = useSluiceClient()
  const [latest, setLatest] = useState<{ id: string | null } & Pick<AiJob, 'pending' | 'error'>>()
  const { pending = null, error } = latest?.id === id ? latest : {}
  const act = async (action: 'cancel' | 'retry') => {
    if (!id || pending) return
    setLatest({ id, pending: action, error: undefined })
    const error = await client[action](id).then(() => undefined, (cause: SluiceError) => cause)
    setLatest((now) => (now?.id === id ? { id, pending: null, error } : now))
  }
  return { pending, error, cancel: () => act('cancel'), retry: () => act('retry') }
}

function useStateChange(job: Job | undefined, tell: UseAiJobOptions['onStateChange']): void {
  const told = useRef<{ id?: string; state?: State }>({})
  useEffect(() => {
    if (!job) return
    const before = told.current.id === job.id ? told.current.state : undefined
    if (before === job.state) return
    told.current = { id: job.id, state: job.state }
    tell?.(job.state, job, before)
  }, [job, tell])
}
