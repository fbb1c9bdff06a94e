import { beforeEach, expect, it, vi } from 'vitest'
import { jobId, queued, running } from '../test/factories.js'
import { forgetStreams, fakeServer, json, latestStream, openStreams, pass, streams } from '../test/fakes.js'
import { createSluiceClient, type ClientOptions } from './client.js'

/** Web Locks as they are: one holder for each name, the others in line. */
function fakeLocks() {
  const lines = new Map<string, Promise<unknown>>()
  return {
    async request(name: string, { signal }: { signal: AbortSignal }, hold: () => Promise<unknown>) {
      const before = lines.get(name) ?? Promise.resolve()
      const aborted = new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
      const held = Promise.race([before, aborted]).then(hold)
      lines.set(name, held.catch(() => before))
      return held
    },
  }
}

/** BroadcastChannel: all of a name but the sender hear. */
class FakeChannel {
  static all = new Set<FakeChannel>()
  onmessage: ((event: { data: unknown }) => void) | null = null
  constructor(readonly name: string) {
    FakeChannel.all.add(this)
  }
  postMessage(data: unknown) {
    for (const other of FakeChannel.all)
      if (other !== this && other.name === this.name) void Promise.resolve().then(() => other.onmessage?.({ data }))
  }
  close() {
    FakeChannel.all.delete(this)
  }
}

beforeEach(() => {
  forgetStreams()
  FakeChannel.all.clear()
  vi.stubGlobal('BroadcastChannel', FakeChannel)
  vi.stubGlobal('navigator', { onLine: true, locks: fakeLocks() })
})

function openTab(options: ClientOptions = {}) {
  const server = fakeServer()
  server.on(`GET /api/ai/jobs/${jobId}`, json(running()))
  const watch = createSluiceClient({ fetch: server.fetch, ...options }).job(jobId)
  const leave = watch.subscribe(() => {})
  return { server, leave, now: watch.getSnapshot }
}

it('one tab listens for all, and a late one is told what is known', async () => {
  const first = openTab()
  await pass(0)
  await latestStream().tell(queued())
  const heardAt = Date.now()
  await pass(30_000)
  const second = openTab()
  await pass(0)
  expect(second.now()).toMatchObject({ connection: 'open', data: { state: 'queued' }, receivedAt: heardAt })
  await latestStream().tell(running())
  await pass(0)
  expect(first.now().data?.state).toBe('running')
  expect(second.now().data?.state).toBe('running')
  await pass(60_000)
  expect(streams()).toHaveLength(1)
  expect(second.server.requests).toHaveLength(0)
})

it('the next tab listens when the first one goes', async () => {
  const first = openTab()
  await pass(0)
  await latestStream().tell(queued())
  const second = openTab()
  await pass(0)
  first.leave()
  await pass(1000)
  expect(openStreams()).toHaveLength(1)
  expect(streams()).toHaveLength(2)
  await latestStream().tell(running())
  expect(second.now()).toMatchObject({ connection: 'open', data: { state: 'running' } })
})

it('a tab whose leader is mute polls by itself', async () => {
  openTab()
  const second = openTab()
  await pass(10_001)
  expect(second.now()).toMatchObject({ connection: 'polling', data: { state: 'running' } })
})

it('a server that goes is missed by all tabs at once', async () => {
  const first = openTab()
  await pass(0)
  await latestStream().tell(queued())
  const second = openTab()
  await pass(0)
  await latestStream().break()
  expect(first.now().connection).toBe('connecting')
  expect(streams()).toHaveLength(2) // the second tab tries for both
  await latestStream().refuse()
  expect(second.now().connection).toBe('connecting')
})

it('a tab whose leader is frozen polls by itself', async () => {
  openTab()
  await pass(0)
  await latestStream().tell(queued())
  const [channel] = FakeChannel.all
  const second = openTab()
  await pass(0)
  expect(second.now()).toMatchObject({ connection: 'open', data: { state: 'queued' } })
  channel!.onmessage = null
  await pass(145_000)
  expect(second.now()).toMatchObject({ connection: 'polling', data: { state: 'running' } })
})

it('tabs of different users share nothing, nor do those with tokens of their own', async () => {
  openTab({ shareTabs: 'ada' })
  openTab({ shareTabs: 'bob' })
  await pass(0)
  expect(openStreams()).toHaveLength(2)
  openTab({ getToken: () => 'secret' })
  await pass(0)
  expect(openStreams()).toHaveLength(3)
  expect([...FakeChannel.all]).toHaveLength(2)
})
