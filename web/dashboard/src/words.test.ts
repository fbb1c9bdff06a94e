import { expect, it } from 'vitest'
import type { Breaker, QueueCounts, Upstream } from '@sluice/react'
import { probeWords, reasonWords, shortId, span, title } from './words.js'

const breaker = (differs: Partial<Breaker>): Breaker => ({ state: 'closed', reason: null, failures: 0, opened_at: null, retry_at: null, ...differs })
const upstream = (name: string, differs: Partial<Breaker>): Upstream => ({
  name, breaker: breaker(differs), in_flight: 0,
  quota: { requests: { limit: null, remaining: null, resets_at: null }, tokens: { limit: null, remaining: null, resets_at: null } },
})
const queue = (failed: number): QueueCounts => ({ queued: 0, running: 0, delayed: 0, failed, done: 0, cancelled: 0, oldest_queued_seconds: 0 })

it('words a length of time as roughly as it matters', () => {
  expect([0, 99, 100, 5999, 7200, 200_000].map(span)).toEqual(['0 s', '99 s', '2 min', '100 min', '2 h', '2 d'])
})

it('counts down to the probe of an open breaker', () => {
  const now = Date.parse('2026-11-26T10:00:00Z')
  const open = breaker({ state: 'open', reason: 'failures', retry_at: '2026-11-26T10:00:12Z' })
  expect(probeWords(open, now)).toBe('probe in 12 s')
  expect(probeWords(open, now + 11_500)).toBe('probe in 1 s')
  expect(probeWords(open, now + 12_000)).toBe('probe due now')
  expect(probeWords(breaker({ state: 'open', reason: 'operator' }), now)).toBe('')
  expect(probeWords(breaker({ state: 'half-open' }), now)).toBe('one call is trying it right now')
})

it('says why a breaker is open, in words or in what it does not know, and what closed means', () => {
  expect(reasonWords(breaker({ reason: 'account' }))).toContain('out of credit')
  expect(reasonWords(breaker({ reason: 'weather' as never }))).toBe('weather')
  expect(reasonWords(breaker({}))).toBe('calls go through')
  expect(reasonWords(breaker({ state: 'half-open' }))).toBe('')
})

it('puts the worst that there is to know behind the name', () => {
  expect(title(undefined, [])).toBe('Sluice')
  expect(title(queue(3), [upstream('a', {})])).toBe('Sluice - 3 failed')
  expect(title(queue(3), [upstream('a', { state: 'half-open' }), upstream('b', { state: 'open' })])).toBe('Sluice - b: breaker open')
})

it('tells jobs of the same minute apart', () => {
  expect(shortId('0199f0c1-7f5d-7c55-8f6e-3f1d6f0a2b11')).toBe('6f0a2b11')
})
