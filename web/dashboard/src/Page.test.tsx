import { cleanup, configure, fireEvent, render, screen, waitFor, within } from '@testing-library/react'
import axe from 'axe-core'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import type { Status } from '@sluice/react'
import { App } from './App.js'

configure({ asyncUtilTimeout: 30_000 }) // ms: how long a busy machine may take is no test's business

const id = '0199f0c1-7f5d-7c55-8f6e-3f1d6f0a2b11'
const upstream = 'openai:gpt-5'

const status: Status = {
  now: new Date().toISOString(),
  queue: { queued: 12, running: 2, delayed: 1, failed: 0, done: 40, cancelled: 0, oldest_queued_seconds: 4 },
  upstreams: [{
    name: upstream, in_flight: 2,
    breaker: { state: 'open', reason: 'account', failures: 0, opened_at: null, retry_at: new Date(Date.now() + 12_000).toISOString() },
    quota: { requests: { limit: 240, remaining: 60, resets_at: null }, tokens: { limit: null, remaining: null, resets_at: null } },
  }],
}
const job = {
  id, tenant: 'default', type: 'diary.entry', state: 'queued', priority: 5, attempts: 1, max_attempts: 5, lease: 1, worker: null, upstream,
  idempotency_key: null, callback_url: null, scheduled_at: null, expires_at: null, deadline_at: null, created_at: '2026-11-26T10:00:00Z',
  updated_at: '2026-11-26T10:00:00Z', started_at: null, finished_at: null, held_at: null, last_error: null, result: null,
  waiting: { reason: 'account', sentence: 'The account is out of credit.', until: null, position: 3, eta_seconds: null },
}
const attempt = {
  number: 1, worker: 'w', upstream, outcome: 'rate_limited', charged: false, status: 429, error: 'slow down', retry_after_ms: 2000, request_id: null,
  usage: null, started_at: '2026-11-26T10:00:00Z', finished_at: '2026-11-26T10:00:01Z',
}

/** Answers of the server by path; a test may change them. */
let answers: Record<string, unknown>
let calls: { method: string; url: string; headers: Headers; body: string }[]

beforeEach(() => {
  history.replaceState(null, '', '/')
  sessionStorage.clear()
  calls = []
  answers = {
    '/page.json': { auth: false, simulator: null },
    '/api/ai/status': status,
    '/api/ai/jobs': { jobs: [job], next_cursor: null },
    [`/api/ai/jobs/${id}`]: { ...job, payload: { input: 'My week' } },
    [`/api/ai/jobs/${id}/attempts`]: { attempts: [attempt] },
    '/api/ai/types': { types: [{ name: 'diary.entry', upstream, model: 'gpt-5', priority: 5, max_attempts: 5, custom: false }] },
    '/api/ai/enqueue': { id, state: 'queued', status_url: '', events_url: '', waiting: job.waiting },
    'http://127.0.0.1:4000/control/mode': { mode: 'healthy' },
  }
  vi.stubGlobal('fetch', async (url: string, init: RequestInit = {}) => {
    calls.push({ method: init.method ?? 'GET', url, headers: new Headers(init.headers), body: String(init.body ?? '') })
    const answer = answers[url.split('?')[0]!]
    if (answer === 401) return Response.json({ detail: 'the key is not known' }, { status: 401 })
    return answer === undefined ? new Response('', { status: 503 }) : Response.json(answer)
  })
})
afterEach(cleanup)

const region = (name: string) => screen.findByRole('region', { name })

it('shows the queue, why an upstream is shut, and why each job waits', async () => {
  render(<App />)
  const queue = await region('Queue') // there at once; what it shows comes with the first answer
  await waitFor(() => expect(queue.textContent).toContain('12 queued'))
  const tile = await screen.findByRole('article', { name: upstream })
  expect(tile.textContent).toMatch(/open.*out of credit.*probe in \d+ s.*2 in flight/)
  const meter = within(tile).getByRole('meter', { name: 'requests' })
  expect([meter.getAttribute('aria-valuenow'), meter.getAttribute('aria-valuemax')]).toEqual(['60', '240'])
  const row = await within(await region('Jobs')).findByRole('row', { name: /6f0a2b11/ })
  expect(row.textContent).toContain('The account is out of credit.')
  await waitFor(() => expect(document.title).toBe(`Sluice - ${upstream}: breaker open`))
})

it('counts by the clock of the server, whatever this machine\'s says', async () => {
  const at = (seconds: number) => new Date(Date.now() - 7_200_000 + seconds * 1000).toISOString() // two hours behind
  const shut = { ...status.upstreams[0]!, breaker: { ...status.upstreams[0]!.breaker, retry_at: at(12) } }
  answers['/api/ai/status'] = { ...status, now: at(0), upstreams: [shut] }
  answers['/api/ai/jobs'] = { jobs: [{ ...job, created_at: at(-30) }], next_cursor: null }
  render(<App />)
  await waitFor(() => expect(screen.getByRole('article', { name: upstream }).textContent).toMatch(/probe in \d\d? s/))
  await waitFor(() => expect(screen.getByRole('row', { name: /6f0a2b11/ }).textContent).toMatch(/\b[3-9]\d s$/))
})

it('a breaker that is closed says what that means', async () => {
  const breaker = { ...status.upstreams[0]!.breaker, state: 'closed' as const, reason: null, retry_at: null }
  answers['/api/ai/status'] = { ...status, upstreams: [{ ...status.upstreams[0]!, breaker }] }
  render(<App />)
  expect((await screen.findByRole('article', { name: upstream })).textContent).toContain('calls go through')
})

it('each tab of the list begins with its first page', async () => {
  answers['/api/ai/jobs'] = { jobs: [job], next_cursor: 'older' }
  render(<App />)
  await screen.findByRole('link', { name: '6f0a2b11' })
  fireEvent.click(await screen.findByRole('button', { name: 'Older' }))
  await waitFor(() => expect(calls.some(({ url }) => url.includes('cursor=older'))).toBe(true))
  fireEvent.click(screen.getByRole('link', { name: 'Failed' }))
  await waitFor(() => expect(calls.some(({ url }) => url.includes('state=failed'))).toBe(true))
  expect(calls.filter(({ url }) => /state=failed.*cursor|cursor.*state=failed/.test(url))).toEqual([])
})

it('works where the browser keeps nothing', async () => {
  vi.spyOn(window, 'sessionStorage', 'get').mockImplementation(() => {
    throw new DOMException('denied', 'SecurityError')
  })
  answers['/page.json'] = { auth: true, simulator: null }
  render(<App />)
  fireEvent.change(await screen.findByLabelText('API key'), { target: { value: 'sluice_x' } })
  fireEvent.click(screen.getByRole('button', { name: 'Sign in' }))
  await region('Queue')
})

it('opens one job by its link, with its tries, and closes it', async () => {
  render(<App />)
  fireEvent.click(await screen.findByRole('link', { name: '6f0a2b11' }))
  expect(location.search).toBe(`?job=${id}`)
  const panel = await region('Job')
  await waitFor(() => expect(panel.textContent).toMatch(/rate limited.*status 429 · took 1.0 s · retry after 2 s · not counted · at 10:00:00 UTC/))
  expect(await within(panel).findByRole('button', { name: 'Cancel' })).toBeTruthy()
  expect(within(panel).queryByRole('button', { name: 'Retry' })).toBeNull()
  fireEvent.click(within(panel).getByRole('button', { name: 'Close' }))
  expect(location.search).toBe('')
  expect(screen.queryByRole('region', { name: 'Job' })).toBeNull()
})

it('enqueues and says that the work waits', async () => {
  render(<App />)
  const form = await screen.findByRole('form', { name: 'Enqueue' })
  await within(form).findByRole('option', { name: 'diary.entry' })
  fireEvent.change(within(form).getByLabelText('Prompt'), { target: { value: 'My week' } })
  fireEvent.submit(form)
  await within(form).findByText(/Added to the queue\. It starts as soon as there is capacity\./)
  const sent = calls.find(({ url }) => url === '/api/ai/enqueue')!
  expect(JSON.parse(sent.body)).toEqual({ type: 'diary.entry', payload: { input: 'My week' } })
  expect(sent.headers.get('Idempotency-Key')).toBeTruthy()
})

it('pauses an upstream only when that was meant', async () => {
  const ask = vi.fn(() => false)
  vi.stubGlobal('confirm', ask)
  answers['/api/ai/upstreams/openai%3Agpt-5/pause'] = status.upstreams[0]
  render(<App />)
  const pause = await screen.findByRole('button', { name: 'Pause' })
  fireEvent.click(pause)
  expect(calls.some(({ method }) => method === 'POST')).toBe(false)
  ask.mockReturnValue(true)
  fireEvent.click(pause)
  await waitFor(() => expect(calls.some(({ url }) => url.endsWith('/pause'))).toBe(true))
})

it('asks for a key where that is needed, keeps it in the session alone, and asks anew when it is refused', async () => {
  answers['/page.json'] = { auth: true, simulator: null }
  render(<App />)
  await screen.findByRole('form', { name: 'Sign in' })
  fireEvent.change(screen.getByLabelText('API key'), { target: { value: 'sluice_x' } })
  fireEvent.click(screen.getByRole('button', { name: 'Sign in' }))
  await region('Queue')
  const asked = () => calls.find(({ url }) => url.startsWith('/api/ai/status'))
  await waitFor(() => expect(asked()?.headers.get('Authorization')).toBe('Bearer sluice_x'))
  expect([sessionStorage.getItem('sluice-key'), localStorage.length]).toEqual(['sluice_x', 0])
  cleanup()
  answers['/api/ai/status'] = answers['/api/ai/status/events'] = 401
  render(<App />)
  await screen.findByRole('form', { name: 'Sign in' })
  expect(screen.getByRole('alert').textContent).toContain('did not take this key')
  expect(sessionStorage.length).toBe(0)
})

it('has the switch of the provider in the demo alone', async () => {
  answers['/page.json'] = { auth: false, simulator: 'http://127.0.0.1:4000' }
  render(<App />)
  const group = await screen.findByRole('radiogroup', { name: 'Provider' })
  await waitFor(() => expect((within(group).getByRole('radio', { name: 'Healthy' }) as HTMLInputElement).checked).toBe(true))
  answers['http://127.0.0.1:4000/control/mode'] = { mode: 'down' }
  fireEvent.click(within(group).getByRole('radio', { name: 'Down' }))
  await waitFor(() => expect((within(group).getByRole('radio', { name: 'Down' }) as HTMLInputElement).checked).toBe(true))
  const put = calls.find(({ method }) => method === 'PUT')
  expect(put).toMatchObject({ url: 'http://127.0.0.1:4000/control/mode', body: '{"mode":"down"}' })
})

it('has nothing that axe finds', async () => {
  answers['/page.json'] = { auth: true, simulator: 'http://127.0.0.1:4000' }
  sessionStorage.setItem('sluice-key', 'sluice_x')
  history.replaceState(null, '', `/?job=${id}`)
  render(<App />)
  await screen.findByText(/rate limited/)
  await screen.findByRole('article', { name: upstream })
  const { violations } = await axe.run(document.body, { rules: { 'color-contrast': { enabled: false }, region: { enabled: false } } })
  expect(violations.map(({ id: rule, nodes }) => `${rule}: ${nodes[0]?.html}`)).toEqual([])
})
