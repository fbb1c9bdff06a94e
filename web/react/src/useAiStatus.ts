import { useMemo } from 'react'
import type { Breaker, BreakerState, Connection, QueueCounts, SluiceError, Upstream } from './client.js'
import { useSluiceClient } from './SluiceProvider.js'
import { useWatch } from './useWatch.js'

/** The queue and the providers behind it, as far as is known. */
export interface AiStatus {
  /** Undefined until there is news. */
  queue: QueueCounts | undefined
  upstreams: Upstream[]
  /** The worst breaker of all upstreams; undefined until there is news, and where no upstream is known. */
  breaker: Breaker | undefined
  /** The worst breaker's state; `closed` where no upstream is known, `unknown` until there is news. */
  breakerState: BreakerState | 'unknown'
  /** When the next probe of an open breaker is sent at the earliest, in milliseconds by this machine's clock. */
  nextTryAt: number | null
  connection: Connection
  /** Why there is no news; what is known stays. */
  error: SluiceError | undefined
}

const severity: Record<BreakerState, number> = { closed: 0, 'half-open': 1, open: 2 }

const worst = (upstreams: Upstream[]): Breaker | undefined =>
  upstreams.map(({ breaker }) => breaker).sort((a, b) => severity[b.state] - severity[a.state])[0]

/** Milliseconds from one moment to another, both by the server's clock. */
const span = (from: string, to: string): number => Date.parse(to) - Date.parse(from)

/** Follows the queue's counts and the breakers. */
export function useAiStatus(): AiStatus {
  const client = useSluiceClient()
  const { data, error, connection, receivedAt } = useWatch(useMemo(() => client.status(), [client]))
  return useMemo(() => {
    const upstreams = data?.upstreams ?? []
    const breaker = worst(upstreams)
    return {
      queue: data?.queue,
      upstreams,
      breaker,
      breakerState: data ? (breaker?.state ?? 'closed') : 'unknown',
      nextTryAt: data && breaker?.state === 'open' && breaker.retry_at ? receivedAt + span(data.now, breaker.retry_at) : null,
      connection,
      error,
    }
  }, [data, error, connection, receivedAt])
}
