import { expect, it } from 'vitest'
import { job, waiting } from '../test/factories.js'
import type { Waiting } from './client.js'
import { etaRange, jobEta } from './eta.js'
import { english } from './messages.js'

it.each([
  [0, 'under 10 s'],
  [3, 'under 10 s'],
  [20, '10-30 s'],
  [39, '10-60 s'],
  [40, 'under 1 min'],
  [120, '1-3 min'],
  [600, '5-15 min'],
  [3600, '0-2 h'],
  [7200, '1-3 h'],
  [86_400, '0-2 d'],
  [86_400 * 10, '5-15 d'],
])('%i seconds are told as %s', (seconds, words) => {
  expect(english.eta(etaRange(seconds))).toBe(words.replace(/^0-/, 'under '))
})

it('is told only where anybody can tell when the job starts', () => {
  const told = (differs: Partial<Waiting>) => jobEta(job({ waiting: waiting({ eta_seconds: 120, ...differs }) }))
  expect(told({ reason: 'queue' })).toEqual({ from: 1, to: 3, unit: 'min' })
  expect(told({ reason: 'rate_limit' })).toEqual({ from: 1, to: 3, unit: 'min' })
  expect(told({ reason: 'queue', eta_seconds: null })).toBeNull()
  for (const reason of ['breaker', 'account', 'credentials', 'configuration', 'paused', 'no_worker', 'backoff', 'scheduled'] as const)
    expect(told({ reason })).toBeNull()
  expect(jobEta(job())).toBeNull()
})
