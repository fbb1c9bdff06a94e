// @vitest-environment node
import { afterEach, expect, expectTypeOf, it, vi } from 'vitest'
import { done, failed, jobId } from '../test/factories.js'
import { fakeServer, json, problem } from '../test/fakes.js'
import { createSluiceClient, SluiceError, startsNow, type JobSummary } from './client.js'

const patience = { timeout: 60_000 } // ms: how long a busy machine may take is no test's business

afterEach(() => void vi.useRealTimers())

function setUp() {
  const server = fakeServer()
  return { server, client: createSluiceClient({ baseUrl: 'http://ai', fetch: server.fetch }) }
}

it('reaches every operation, typed, its parameters encoded', async () => {
  const { server, client } = setUp()
  server.on('POST http://ai/api/ai/upstreams/openai%3Agpt-5/pause', json({ name: 'openai:gpt-5' }))
  const upstream = await client.request('post', '/api/ai/upstreams/{name}/pause', { path: { name: 'openai:gpt-5' } })
  expectTypeOf(upstream.name).toBeString()
  expect(upstream.name).toBe('openai:gpt-5')

  server.on('GET http://ai/api/ai/jobs?state=failed&limit=10', json({ jobs: [], next_cursor: null }))
  const page = await client.request('get', '/api/ai/jobs', { query: { state: 'failed', limit: 10, type: undefined } })
  expectTypeOf(page.jobs).toEqualTypeOf<JobSummary[]>()
  expect(page.jobs).toEqual([])
  expect(server.requests[0]!.headers.get('Content-Type')).toBeNull()

  server.on('POST http://ai/api/ai/enqueue/batch', json({ ids: ['a'] }, 202))
  const { ids } = await client.request('post', '/api/ai/enqueue/batch', { body: [{ type: 'diary.entry', payload: {} }] })
  expect(ids).toEqual(['a'])
  expect(server.requests[2]!.headers.get('Content-Type')).toBe('application/json')

  // @ts-expect-error: there is no such path
  await expect(client.request('get', '/api/ai/nothing')).rejects.toThrow()
  // @ts-expect-error: a path's parameters are required
  await expect(client.request('post', '/api/ai/jobs/{id}/cancel')).rejects.toThrow()
})

it('says what the server refused, and whether it may pass', async () => {
  const { server, client } = setUp()
  const status = async () => client.request('get', '/api/ai/status').then(() => undefined, (error: SluiceError) => error)
  server.on('GET http://ai/api/ai/status', problem(503, 'the database does not answer', { 'Retry-After': '3' }))
  expect(await status()).toMatchObject({
    name: 'SluiceError', message: 'the database does not answer', status: 503, retryAfter: 3000, transient: true, problem: { title: 'No' },
  })
  server.on('GET http://ai/api/ai/status', problem(409, 'no'))
  expect(await status()).toMatchObject({ status: 409, transient: false, retryAfter: undefined })
  server.on('GET http://ai/api/ai/status', new Response('<html>', { status: 502 }))
  expect(await status()).toMatchObject({ message: 'the server answered with status 502', transient: true })
  server.on('GET http://ai/api/ai/status', new Response('<html>'))
  expect(await status()).toMatchObject({ status: 0, transient: true })
  server.down('GET http://ai/api/ai/status')
  expect(await status()).toMatchObject({ message: 'the server could not be reached', status: 0, transient: true, cause: expect.any(TypeError) })
})

it('works where there is no page: nothing happens on a server until something is asked', async () => {
  const { server, client } = setUp()
  expect(client.job(jobId).getServerSnapshot()).toBe(client.status().getServerSnapshot())
  expect(client.job(jobId).getSnapshot()).toMatchObject({ data: undefined, connection: 'connecting' })
  expect(server.requests).toHaveLength(0)
})

it('tells whether work starts now', () => {
  const waiting = { reason: 'queue', sentence: '', until: null, position: 1, eta_seconds: null } as const
  expect(startsNow({ waiting: null })).toBe(true)
  expect(startsNow({ waiting })).toBe(true)
  expect(startsNow({ waiting: { ...waiting, position: 2 } })).toBe(false)
  expect(startsNow({ waiting: { ...waiting, position: null } })).toBe(false)
  expect(startsNow({ waiting: { ...waiting, reason: 'breaker' } })).toBe(false)
})

it('enqueues once, under one key, however often the network fails', async () => {
  vi.useFakeTimers()
  const { server, client } = setUp()
  const route = 'POST http://ai/api/ai/enqueue'
  const answer = client.enqueue({ type: 'diary.entry', payload: { input: 'x' } })
  await vi.advanceTimersByTimeAsync(500)
  server.on(route, problem(429, 'full', { 'Retry-After': '30' }))
  await vi.advanceTimersByTimeAsync(1000)
  expect(server.to(route)).toHaveLength(2)
  server.on(route, json({ id: jobId, state: 'queued', waiting: null }, 202))
  await vi.advanceTimersByTimeAsync(28_000)
  expect(server.to(route)).toHaveLength(2)
  await vi.advanceTimersByTimeAsync(2000)
  expect((await answer).id).toBe(jobId)
  const keys = server.to(route).map(({ headers }) => headers.get('Idempotency-Key'))
  expect(keys).toHaveLength(3)
  expect(new Set(keys).size).toBe(1)
  expect(keys[0]).toMatch(/^\d+(-\d+){3}$/)

  server.on(route, problem(400, 'type: is unknown'))
  await expect(client.enqueue({ type: 'x', payload: {} }, { idempotencyKey: 'mine' })).rejects.toThrow('type: is unknown')
  expect(server.requests.at(-1)!.headers.get('Idempotency-Key')).toBe('mine')

  server.down(route)
  const tries = server.to(route).length
  const given = expect(client.enqueue({ type: 'x', payload: {} })).rejects.toMatchObject({ status: 0 })
  await vi.advanceTimersByTimeAsync(60_000)
  await given
  expect(server.to(route)).toHaveLength(tries + 5)
})

it('gives up an answer that does not come, and asks again', async () => {
  vi.useFakeTimers()
  const { server, client } = setUp()
  const route = 'POST http://ai/api/ai/enqueue'
  server.on(route, () => new Promise(() => {}))
  const answer = client.enqueue({ type: 'diary.entry', payload: { input: 'x' } })
  await vi.advanceTimersByTimeAsync(69_000) // an answer may be asked to wait for 60 s
  expect(server.to(route)).toHaveLength(1)
  server.on(route, json({ id: jobId, state: 'queued', waiting: null }, 202))
  await vi.advanceTimersByTimeAsync(3000)
  expect((await answer).id).toBe(jobId)
  expect(vi.getTimerCount()).toBe(0)
})

it('a cancel or a retry that comes too late brings the news that it missed', async () => {
  const { server, client } = setUp()
  const url = `http://ai/api/ai/jobs/${jobId}`
  server.on(`GET ${url}/events`, new Response(null, { status: 204 }))
  server.on(`GET ${url}`, json(failed()))
  const job = client.job(jobId)
  const leave = job.subscribe(() => {})
  await vi.waitFor(() => expect(job.getSnapshot()).toMatchObject({ connection: 'closed', data: { state: 'failed' } }), patience)
  server.on(`GET ${url}`, json(done())) // another tab had it tried again
  server.on(`POST ${url}/retry`, problem(409, 'a job that is done cannot be retried'))
  await expect(client.retry(jobId)).rejects.toMatchObject({ status: 409 })
  await vi.waitFor(() => expect(job.getSnapshot()).toMatchObject({ connection: 'closed', data: { state: 'done' } }), patience)
  leave()
})
