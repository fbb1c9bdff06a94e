import { act, screen } from '@testing-library/react'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import { status, upstream } from '../test/factories.js'
import { forgetStreams, goOffline, json, latestStream, problem, streams } from '../test/fakes.js'
import { renderWithSluice, tell, violations, wait } from '../test/render.js'
import { AiIndicators } from './index.js'

beforeEach(forgetStreams)

const panel = () => screen.getByRole('region', { name: 'AI status' })
const counts = () => screen.getAllByRole('listitem').map(({ textContent }) => textContent?.trim())

it('counts what waits, runs and failed', async () => {
  renderWithSluice(<AiIndicators />)
  expect(counts()).toEqual(['Queued –', 'Delayed –', 'Running –', 'Failed –'])
  expect(panel().textContent).toContain('AI status unknown')
  await tell(status())
  expect(counts()).toEqual(['Queued 3', 'Delayed 0', 'Running 2', 'Failed 1'])
  expect(streams().map(({ url }) => url)).toEqual(['/api/ai/status/events'])
})

describe('the worst breaker', () => {
  const inAMinute = new Date(Date.parse('2026-11-26T10:01:00Z')).toISOString()
  it.each([
    ['closed', 'AI available', [upstream('a'), upstream('b')]],
    ['closed', 'AI available', []],
    ['half-open', 'AI is being tried again', [upstream('a'), upstream('b', { state: 'half-open', reason: 'failures' })]],
    ['open', 'AI paused; jobs wait', [
      upstream('a', { state: 'half-open' }), upstream('b', { state: 'open', reason: 'account', retry_at: inAMinute }), upstream('c'),
    ]],
  ])('is told in words where it is %s', async (state, words, upstreams) => {
    renderWithSluice(<AiIndicators />)
    await tell(status({}, upstreams))
    await wait(100)
    expect(panel().dataset.breaker).toBe(state)
    expect(panel().textContent).toContain(words)
    expect(screen.getByRole('status').textContent).toBe(words)
    expect(panel().dataset.reason).toBe(state === 'open' ? 'account' : state === 'half-open' ? 'failures' : undefined)
    expect(screen.queryByText('Next try in 1:00') !== null).toBe(state === 'open')
  })
})

it('counts down by the server\'s clock, whatever this machine\'s says', async () => {
  renderWithSluice(<AiIndicators />)
  const open = [upstream('a', { state: 'open', reason: 'failures', retry_at: '2026-11-26T08:00:30Z' })]
  await tell({ ...status({}, open), now: '2026-11-26T08:00:00Z' }) // two hours behind
  expect(screen.getByText(/Next try/).textContent).toBe('Next try in 0:30')
})

it('is honest where it knows nothing new', async () => {
  const { server } = renderWithSluice(<AiIndicators />)
  await tell(status())
  expect(panel().dataset.stale).toBeUndefined()
  server.on('GET /api/ai/status', problem(503, 'no database'))
  await act(() => latestStream().break())
  await wait(2000)
  await act(() => latestStream().refuse())
  await wait()
  expect(panel().dataset.stale).toBe('')
  expect(panel().textContent).toContain('No connection; trying again.')
  expect(counts()[0]).toBe('Queued 3')
  server.on('GET /api/ai/status', json(status({ queued: 9 })))
  await wait(6000)
  await act(() => latestStream().refuse())
  await wait(10_000)
  expect(panel().dataset.stale).toBeUndefined()
  expect(counts()[0]).toBe('Queued 9')
  server.down('GET /api/ai/status')
  await act(async () => goOffline())
  await wait(2000)
  expect(panel().textContent).toContain('You are offline.')
})

it('shares one connection among components', () => {
  renderWithSluice(<><AiIndicators /><AiIndicators /></>)
  expect(streams()).toHaveLength(1)
})

it('may be drawn otherwise', async () => {
  renderWithSluice(<AiIndicators>{({ queue, breakerState }) => <i>{`${queue?.queued} ${breakerState}`}</i>}</AiIndicators>)
  await tell(status())
  expect(screen.getByText('3 closed')).toBeTruthy()
})

it('has no accessibility violation', async () => {
  const { container } = renderWithSluice(<AiIndicators className="mine" />)
  await tell(status({}, [upstream('a', { state: 'open', retry_at: '2026-11-26T10:01:00Z' })]))
  await wait(100)
  vi.useRealTimers()
  expect(await violations(container)).toEqual([])
  expect(panel().className).toBe('sluice sluice-indicators mine')
})
