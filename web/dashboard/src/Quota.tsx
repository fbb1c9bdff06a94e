import type { Upstream } from '@sluice/react'
import { count } from './words.js'

type Dimension = Upstream['quota']['requests']

/** What is left of one limit. A provider that told no limit has no bar. */
export function Quota({ name, dimension: { limit, remaining } }: { name: string; dimension: Dimension }) {
  if (limit === null) return <p className="quota muted">no limit of {name} seen</p>
  const left = Math.min(Math.max(remaining ?? 0, 0), limit)
  const share = limit > 0 ? left / limit : 0
  const words = `${count(left)} of ${count(limit)} ${name} left`
  return (
    <div className="quota">
      <div
        role="meter" aria-label={name} aria-valuemin={0} aria-valuemax={limit} aria-valuenow={left} aria-valuetext={words}
        className="bar" data-low={share < 0.1}
      >
        <div style={{ width: `${share * 100}%` }} />
      </div>
      <span aria-hidden="true">{words}</span>
    </div>
  )
}
