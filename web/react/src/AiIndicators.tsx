import type { ReactNode } from 'react'
import { Countdown } from './Countdown.js'
import { Icon, Panel, troubleOf } from './Panel.js'
import { useMessages } from './SluiceProvider.js'
import { useAiStatus, type AiStatus } from './useAiStatus.js'

export interface AiIndicatorsProps {
  className?: string
  /** Renders in place of the built-in markup. */
  children?(status: AiStatus): ReactNode
}

/** How many jobs wait, run and failed, and whether the providers behind them answer. */
export function AiIndicators({ className, children }: AiIndicatorsProps) {
  const status = useAiStatus()
  return children ? children(status) : <Indicators status={status} className={className} />
}

const counts = ['queued', 'delayed', 'running', 'failed'] as const

function Indicators({ status, className }: { status: AiStatus; className?: string }) {
  const messages = useMessages()
  const { queue, breaker, breakerState, connection, error, nextTryAt } = status
  const words = messages.breaker[breakerState]
  const trouble = troubleOf(connection, error, messages)
  return (
    <Panel
      name="indicators"
      className={className}
      label={messages.indicators}
      data-breaker={breakerState}
      data-reason={breaker?.reason}
      data-connection={connection}
      data-stale={trouble && ''}
      trouble={trouble}
      milestone={breakerState}
      spoken={words}
    >
      <ul className="sluice-counts">
        {counts.map((name) => (
          <li key={name} data-count={name} data-number={queue?.[name]}>
            <Icon /> {messages.count[name]} <strong>{queue?.[name] ?? '–'}</strong>
          </li>
        ))}
      </ul>
      <p className="sluice-breaker">
        <Icon /> {words} {nextTryAt && <Countdown to={nextTryAt} />}
      </p>
    </Panel>
  )
}
