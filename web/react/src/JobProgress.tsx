import type { ReactNode } from 'react'
import { Countdown } from './Countdown.js'
import type { Messages } from './messages.js'
import { Icon, Panel, troubleOf } from './Panel.js'
import { useMessages } from './SluiceProvider.js'
import { useAiJob, type AiJob, type UseAiJobOptions } from './useAiJob.js'

export interface JobProgressProps extends UseAiJobOptions {
  id: string | null | undefined
  className?: string
  /** Renders in place of the built-in markup. */
  children?(job: AiJob): ReactNode
}

/** What becomes of one job: why it waits, where it stands, when it starts; its result; a button to cancel or retry it. */
export function JobProgress({ id, className, children, ...options }: JobProgressProps) {
  const job = useAiJob(id, options)
  if (children) return children(job)
  return job.id && <Progress job={job} className={className} />
}

function Progress({ job, className }: { job: AiJob; className?: string }) {
  const messages = useMessages()
  const { state = 'loading', connection, pending } = job
  const failure = state === 'failed' && messages.failure(job.job?.last_error ?? null)
  return (
    <Panel
      name="job"
      className={className}
      label={messages.job}
      data-state={state}
      data-reason={job.job?.waiting?.reason}
      data-connection={connection}
      data-pending={pending}
      trouble={troubleOf(connection, job.error, messages)}
      milestone={milestone(job)}
      spoken={spoken(job, failure, messages)}
    >
      <p className="sluice-state">
        <Icon /> {messages.state[state]}
      </p>
      {job.sentence && <p className="sluice-sentence">{job.sentence}</p>}
      {job.sentence && <Expectation job={job} />}
      {state === 'running' && <div className="sluice-bar" aria-hidden="true" />}
      {failure && <p className="sluice-failure">{failure}</p>}
      {job.result?.output_text && <p className="sluice-result">{job.result.output_text}</p>}
      <Action job={job} />
    </Panel>
  )
}

function Expectation({ job: { position, eta, nextTryAt } }: { job: AiJob }) {
  const messages = useMessages()
  return (
    <p className="sluice-expectation">
      {position && <span>{messages.place(position)}</span>}
      {eta && <span>{messages.eta(eta)}</span>}
      {nextTryAt && <Countdown to={nextTryAt} />}
    </p>
  )
}

/** One button, so that it keeps its place, and the focus that it may have. */
function Action({ job: { canCancel, canRetry, cancel, retry, pending } }: { job: AiJob }) {
  const messages = useMessages()
  if (!canCancel && !canRetry) return null
  return (
    <button type="button" className="sluice-button" aria-disabled={!!pending} onClick={canCancel ? cancel : retry}>
      {canCancel ? messages.cancel : messages.retry}
    </button>
  )
}

/** Changes with what is worth saying aloud: another state, another reason to wait, half of those ahead gone. */
const milestone = ({ state, job, position }: AiJob): string =>
  [state, job?.waiting?.reason, position && Math.ceil(Math.log2(position))].join()

const spoken = ({ state, sentence, eta }: AiJob, failure: string | false, messages: Messages): string =>
  state ? [messages.state[state], failure || sentence, eta && messages.eta(eta)].filter(Boolean).join('. ') : ''
