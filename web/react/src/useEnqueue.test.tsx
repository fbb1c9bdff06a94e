import { act, renderHook } from '@testing-library/react'
import { StrictMode, type ReactNode } from 'react'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import { jobId, waiting } from '../test/factories.js'
import { fakeServer, json, problem } from '../test/fakes.js'
import { wait } from '../test/render.js'
import { createSluiceClient, SluiceProvider, useEnqueue, type EnqueueResponse, type UseEnqueueOptions } from './index.js'

const route = 'POST /api/ai/enqueue'
const body = { type: 'diary.entry', payload: { input: 'Sum up my week.' } }
const answer = (differs: Partial<EnqueueResponse> = {}) =>
  json({ id: jobId, state: 'queued', status_url: '', events_url: '', waiting: null, ...differs }, 202)

let server: ReturnType<typeof fakeServer>
beforeEach(() => {
  server = fakeServer()
})

function setUp(options: UseEnqueueOptions = {}) {
  const client = createSluiceClient({ fetch: server.fetch })
  const wrapper = ({ children }: { children: ReactNode }) => (
    <StrictMode><SluiceProvider client={client}>{children}</SluiceProvider></StrictMode>
  )
  const rendered = renderHook(() => useEnqueue(options), { wrapper })
  return { ...rendered, now: () => rendered.result.current }
}

const keys = () => server.to(route).map(({ headers }) => headers.get('Idempotency-Key'))

describe('a submit', () => {
  it('tells that the work starts at once', async () => {
    server.on(route, answer())
    const options = { onQueued: vi.fn(), onStarted: vi.fn() }
    const { now } = setUp(options)
    expect(now().phase).toBe('idle')
    act(() => void now().enqueue(body))
    expect(now().phase).toBe('submitting')
    await wait()
    expect(now()).toMatchObject({ phase: 'started', id: jobId, waiting: null })
    expect(options.onStarted).toHaveBeenCalledOnce()
    expect(options.onQueued).not.toHaveBeenCalled()
    expect(server.requests[0]!.body).toEqual(body)
    act(() => now().reset())
    expect(now()).toMatchObject({ phase: 'idle', id: null })
  })

  it('tells that the work waits, in words for a toast', async () => {
    server.on(route, answer({ waiting: waiting() }))
    const onQueued = vi.fn()
    const { now } = setUp({ onQueued })
    let given: unknown
    await act(async () => (given = await now().enqueue(body)))
    expect(now()).toMatchObject({ phase: 'queued', id: jobId, waiting: { reason: 'queue', position: 12 } })
    expect(onQueued.mock.calls).toEqual([['Added to the queue. It starts as soon as there is capacity.', given]])
  })

  it('keeps its key over failures of the network', async () => {
    const { now } = setUp()
    act(() => void now().enqueue(body))
    await wait(2500)
    server.on(route, answer())
    await wait(10_000)
    expect(now().phase).toBe('started')
    expect(keys().length).toBeGreaterThan(2)
    expect(new Set(keys()).size).toBe(1)
  })

  it('that never had an answer is the same one when it is made again', async () => {
    const onError = vi.fn()
    const { now } = setUp({ onError })
    act(() => void now().enqueue(body))
    await wait(60_000)
    expect(now()).toMatchObject({ phase: 'failed', id: null, error: { status: 0 } })
    expect(onError).toHaveBeenCalledOnce()
    server.on(route, answer())
    await act(async () => void (await now().enqueue({ ...body })))
    expect(now().phase).toBe('started')
    expect(now().error).toBeUndefined()
    expect(new Set(keys()).size).toBe(1)

    await act(async () => void (await now().enqueue(body)))
    expect(new Set(keys()).size).toBe(2)
  })

  it('that was refused is another one when it is made again', async () => {
    server.on(route, problem(400, 'type: is unknown'))
    const { now } = setUp()
    await act(async () => expect(await now().enqueue(body)).toBeUndefined())
    expect(now()).toMatchObject({ phase: 'failed', error: { status: 400, message: 'type: is unknown' } })
    await act(async () => void (await now().enqueue(body)))
    expect(keys()).toHaveLength(2)
    expect(new Set(keys()).size).toBe(2)
  })

  it('made twice at once is one', async () => {
    server.on(route, () => answer())
    const { now } = setUp()
    await act(async () => {
      const both = await Promise.all([now().enqueue(body), now().enqueue(body)])
      expect(both[0]).toBe(both[1])
    })
    expect(server.requests).toHaveLength(1)
  })

  it('is told of until there is a later one, whichever is answered first', async () => {
    const gives: ((response: Response) => void)[] = []
    server.on(route, () => new Promise((resolve) => gives.push(resolve)))
    const onQueued = vi.fn()
    const { now } = setUp({ onQueued })
    act(() => void now().enqueue(body))
    act(() => void now().enqueue({ ...body, priority: 1 }))
    await wait()
    gives[1]!(answer({ id: 'second' }))
    await wait()
    gives[0]!(answer({ id: 'first', waiting: waiting() }))
    await wait()
    expect(now()).toMatchObject({ phase: 'started', id: 'second' })
    expect(onQueued).toHaveBeenCalledOnce() // the toast of the first

    act(() => void now().enqueue(body))
    await wait()
    act(() => now().reset())
    gives[2]!(answer({ id: 'third' }))
    await wait()
    expect(now()).toMatchObject({ phase: 'idle', id: null })
  })

  it('goes on when its component is gone, and still brings the toast', async () => {
    const complaint = vi.spyOn(console, 'error')
    let give!: (response: Response) => void
    server.on(route, () => new Promise((resolve) => (give = resolve)))
    const onQueued = vi.fn()
    const { now, unmount } = setUp({ onQueued })
    act(() => void now().enqueue(body))
    await wait()
    unmount()
    give(answer({ waiting: waiting() }))
    await wait()
    expect(onQueued).toHaveBeenCalledOnce()
    expect(complaint).not.toHaveBeenCalled()
  })
})
