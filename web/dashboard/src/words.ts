import type { Breaker, QueueCounts, State, Upstream } from '@sluice/react'

/** A length of time as a person reads it: 12 s, 3 min, 2 h, 4 d. */
export function span(seconds: number): string {
  const s = Math.max(0, Math.round(seconds))
  if (s < 100) return `${s} s`
  if (s < 100 * 60) return `${Math.round(s / 60)} min`
  if (s < 48 * 3600) return `${Math.round(s / 3600)} h`
  return `${Math.round(s / 86_400)} d`
}

/** A length of time to the tenth of a second while that matters. */
export const exactSpan = (ms: number): string => (ms < 10_000 ? `${(Math.max(0, ms) / 1000).toFixed(1)} s` : span(ms / 1000))

/** The time of day as the server's sentences tell it. */
export const clock = (time: string): string => `${new Date(time).toISOString().slice(11, 19)} UTC`

/** The end of an id: ids begin with the time, so that those of one minute begin alike. */
export const shortId = (id: string): string => id.slice(-8)

export const count = (n: number): string => n.toLocaleString('en')

export const stateWords: Record<State, string> = {
  queued: 'Queued',
  delayed: 'Delayed',
  running: 'Running',
  done: 'Done',
  failed: 'Failed',
  cancelled: 'Cancelled',
}

/** A state's sign, so that it is never told by colour alone. */
export const stateSigns: Record<State, string> = { queued: '•', delayed: '◷', running: '▸', done: '✓', failed: '✕', cancelled: '–' }

const reasons: Record<string, string> = {
  failures: 'the provider is not answering',
  account: 'the account is out of credit or over its spending limit',
  credentials: 'the provider refuses our API key',
  configuration: 'the provider does not offer the configured model',
  operator: 'paused by an operator',
}

/** Why a breaker is not closed, or what it means that it is. */
export const reasonWords = ({ state, reason }: Breaker): string =>
  reason ? (reasons[reason] ?? reason) : state === 'closed' ? 'calls go through' : ''

/** What an open breaker waits for, by this machine's clock. Empty where nothing has a time. */
export function probeWords(breaker: Breaker, now: number): string {
  if (breaker.state === 'half-open') return 'one call is trying it right now'
  if (breaker.state !== 'open' || !breaker.retry_at) return ''
  const left = Math.ceil((Date.parse(breaker.retry_at) - now) / 1000)
  return left > 0 ? `probe in ${left < 100 ? `${left} s` : span(left)}` : 'probe due now'
}

/** The page's title: the worst that there is to know comes behind its name. */
export function title(queue: QueueCounts | undefined, upstreams: Upstream[]): string {
  const worst = upstreams.find(({ breaker }) => breaker.state === 'open') ?? upstreams.find(({ breaker }) => breaker.state !== 'closed')
  if (worst) return `Sluice - ${worst.name}: breaker ${worst.breaker.state}`
  return queue?.failed ? `Sluice - ${count(queue.failed)} failed` : 'Sluice'
}
