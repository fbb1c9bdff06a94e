import type { Job } from './api.js'

/** A span of time, as roughly as it is known: from 1 to 3 `min`. `from` is 0 where it may be next to none. */
export interface EtaRange {
  from: number
  to: number
  unit: 's' | 'min' | 'h' | 'd'
}

/** Half as long to half as long again: no queue keeps its word better than that. */
export function etaRange(seconds: number): EtaRange {
  const most = seconds * 1.5
  if (most < 60) return rounded(seconds, 's', 1, 10)
  if (most < 90 * 60) return rounded(seconds, 'min', 60)
  if (most < 36 * 3600) return rounded(seconds, 'h', 3600)
  return rounded(seconds, 'd', 86_400)
}

function rounded(seconds: number, unit: EtaRange['unit'], size: number, step = 1): EtaRange {
  const steps = seconds / size / step
  return { from: Math.floor(steps / 2) * step, to: Math.max(Math.ceil(steps * 1.5), 1) * step, unit }
}

/**
 * When a job starts, if anybody can tell: only where it waits for its turn or a limit that refills. While an upstream's
 * breaker is open the next probe has a time, but what comes of it has not.
 */
export function jobEta(job: Job): EtaRange | null {
  const { reason, eta_seconds: seconds } = job.waiting ?? {}
  return (reason === 'queue' || reason === 'rate_limit') && typeof seconds === 'number' ? etaRange(seconds) : null
}
