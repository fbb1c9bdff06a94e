import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { done, failed, job, jobId, queued, running, status } from '../test/factories.js'
import {
  fakeBody, forgetStreams, fakeServer, goOffline, goOnline, hide, json, latestStream, openStreams, pass, problem, show, streams,
} from '../test/fakes.js'
import { createSluiceClient, type Watch } from './client.js'

const jobUrl = `/api/ai/jobs/${jobId}`

beforeEach(forgetStreams)

function setUp() {
  const server = fakeServer()
  const client = createSluiceClient({ fetch: server.fetch, shareTabs: false })
  return { server, client }
}

function follow<T>(watch: Watch<T>) {
  const listener = vi.fn()
  const leave = watch.subscribe(listener)
  left.push(leave)
  return { now: watch.getSnapshot, listener, leave }
}

// A connection that lives on would hear the next test's network.
const left: (() => void)[] = []
afterEach(async () => {
  for (const leave of left.splice(0)) leave()
  await pass(1000)
})

describe('a stream', () => {
  it('is shared by all who follow the same', async () => {
    const { client } = setUp()
    const first = follow(client.job(jobId))
    const second = follow(client.job(jobId))
    expect(streams().map(({ url }) => url)).toEqual([`${jobUrl}/events`])
    await latestStream().tell(queued())
    expect(first.now().data?.state).toBe('queued')
    expect(second.now()).toBe(first.now())
  })

  it('ends a little after its last listener left', async () => {
    const { client } = setUp()
    const first = follow(client.job(jobId))
    const second = follow(client.job(jobId))
    first.leave()
    await pass(5000)
    expect(openStreams()).toHaveLength(1)
    second.leave()
    expect(openStreams()).toHaveLength(1)
    await pass(1000)
    expect(openStreams()).toHaveLength(0)
    expect(vi.getTimerCount()).toBe(0)
  })

  it('survives that its only listener leaves and comes back at once', async () => {
    const { client } = setUp()
    follow(client.job(jobId)).leave()
    follow(client.job(jobId))
    await pass(5000)
    expect(streams()).toHaveLength(1)
  })

  it('tells nobody anything where nothing changed, and the snapshot stays the same object', async () => {
    const { client } = setUp()
    const { now, listener } = follow(client.status())
    await latestStream().tell(status())
    const before = now()
    const calls = listener.mock.calls.length
    await latestStream().tell(status())
    expect(now()).toBe(before)
    expect(listener).toHaveBeenCalledTimes(calls)
    await latestStream().tell(status({ queued: 4 }))
    expect(now()).not.toBe(before)
  })

  it('is opened anew after a break', async () => {
    const { client, server } = setUp()
    const { now } = follow(client.job(jobId))
    await latestStream().tell(queued())
    expect(now().connection).toBe('open')
    await latestStream().break()
    expect(now()).toMatchObject({ connection: 'connecting', data: { state: 'queued' } })
    await pass(1000)
    expect(streams()).toHaveLength(2)
    await latestStream().tell(running())
    expect(now()).toMatchObject({ connection: 'open', data: { state: 'running' } })
    await pass(60_000)
    expect(streams()).toHaveLength(2)
    expect(server.requests).toHaveLength(0)
  })

  it('that is refused gives way to polls and is tried again, later each time', async () => {
    const { client, server } = setUp()
    server.on(`GET ${jobUrl}`, json(queued()))
    const { now } = follow(client.job(jobId))
    await latestStream().refuse()
    await pass(0)
    expect(now()).toMatchObject({ connection: 'polling', data: { state: 'queued' } })

    const triedAfter: number[] = []
    for (let seconds = 0; seconds < 60; seconds += 2) {
      const before = streams().length
      await pass(2000)
      if (streams().length > before) triedAfter.push(seconds + 2)
      if (openStreams().length) await latestStream().refuse()
    }
    expect(triedAfter).toEqual([2, 6, 14, 30])
    expect(server.to(`GET ${jobUrl}`).length).toBeGreaterThan(25)

    await pass(4000)
    await latestStream().tell(running())
    const polls = server.requests.length
    await pass(30_000)
    expect(now().connection).toBe('open')
    expect(server.requests).toHaveLength(polls)
  })

  it('that opens and says nothing is not trusted before there are news', async () => {
    const { client, server } = setUp()
    server.on(`GET ${jobUrl}`, json(queued()))
    const { now } = follow(client.job(jobId))
    await latestStream().open()
    await pass(10_001)
    expect(openStreams()).toHaveLength(0)
    expect(now()).toMatchObject({ connection: 'polling', data: { state: 'queued' } })

    await pass(2000)
    expect(streams()).toHaveLength(2)
    await latestStream().open() // what a proxy that holds events back does again, now that polls have brought news
    server.on(`GET ${jobUrl}`, json(running()))
    await pass(10_001)
    expect(openStreams()).toHaveLength(0)
    expect(now()).toMatchObject({ connection: 'polling', data: { state: 'running' } })
  })

  it('that has told something may be silent after a break', async () => {
    const { client, server } = setUp()
    const { now } = follow(client.job(jobId))
    await latestStream().tell(queued())
    await latestStream().break()
    await pass(1000)
    await latestStream().open() // a server does not tell again what was heard before
    await pass(60_000)
    expect(now().connection).toBe('open')
    expect(streams()).toHaveLength(2)
    expect(server.requests).toHaveLength(0)
  })

  it('ends with the job, and nothing is asked any more', async () => {
    const { client, server } = setUp()
    const { now } = follow(client.job(jobId))
    await latestStream().tell(running())
    await latestStream().tell(done())
    await pass(60_000)
    expect(now()).toMatchObject({ connection: 'closed', data: { state: 'done', result: { output_text: 'A good week.' } } })
    expect(streams()).toHaveLength(1)
    expect(openStreams()).toHaveLength(0)
    expect(server.requests).toHaveLength(0)
  })

  it('that ends for good before the end was heard (204) is followed by one question', async () => {
    const { client, server } = setUp()
    server.on(`GET ${jobUrl}`, json(done()))
    const { now } = follow(client.job(jobId))
    await latestStream().refuse()
    await pass(60_000)
    expect(now()).toMatchObject({ connection: 'closed', data: { state: 'done' } })
    expect(server.requests).toHaveLength(1)
  })
})

describe('polls', () => {
  const list = '/api/ai/jobs?state=failed'

  function setUpList(answer: Parameters<ReturnType<typeof fakeServer>['on']>[1] = json({ jobs: [], next_cursor: null })) {
    const { client, server } = setUp()
    server.on(`GET ${list}`, answer)
    const watch = client.poll('/api/ai/jobs', { query: { state: 'failed' } })
    return { server, ...follow(watch), polls: () => server.to(`GET ${list}`).length }
  }

  it('come every two seconds, and need no stream', async () => {
    const { now, polls } = setUpList()
    await pass(0)
    expect(now()).toMatchObject({ connection: 'polling', data: { jobs: [], next_cursor: null } })
    await pass(10_000)
    expect(polls()).toBe(6)
    expect(streams()).toHaveLength(0)
  })

  it('are slower while the page is hidden, and come at once when it is seen again', async () => {
    const { polls } = setUpList()
    await pass(0)
    hide()
    await pass(2000)
    const hidden = polls()
    await pass(29_000)
    expect(polls()).toBe(hidden)
    await pass(31_000)
    expect(polls()).toBe(hidden + 2)
    show()
    await pass(0)
    expect(polls()).toBe(hidden + 3)
    await pass(2000)
    expect(polls()).toBe(hidden + 4)
  })

  it('back off while they fail, keep what is known, and recover', async () => {
    const { server, now, polls } = setUpList()
    await pass(0)
    server.down(`GET ${list}`)
    await pass(2000)
    expect(now()).toMatchObject({ connection: 'connecting', data: { jobs: [] }, error: { status: 0 } })
    expect(polls()).toBe(2)
    const gaps = []
    for (let since = 0, before = 2; gaps.length < 6; since += 2) {
      await pass(2000)
      if (polls() > before) {
        gaps.push(since + 2)
        since = -2
        before = polls()
      }
    }
    expect(gaps).toEqual([4, 8, 16, 32, 60, 60])
    server.on(`GET ${list}`, json({ jobs: [], next_cursor: 'x' }))
    await pass(60_000)
    expect(now()).toMatchObject({ connection: 'polling', data: { next_cursor: 'x' }, error: undefined })
  })

  it('spread their delays by chance', async () => {
    vi.mocked(Math.random).mockReturnValue(0)
    const { polls } = setUpList()
    await pass(1500)
    expect(polls()).toBe(2)
    vi.mocked(Math.random).mockReturnValue(0.999)
    await pass(1500)
    expect(polls()).toBe(3)
    await pass(2400)
    expect(polls()).toBe(3)
    await pass(100)
    expect(polls()).toBe(4)
  })

  it('wait as long as the server asks', async () => {
    const { polls } = setUpList(problem(503, 'no database', { 'Retry-After': '20' }))
    await pass(19_000)
    expect(polls()).toBe(1)
    await pass(1000)
    expect(polls()).toBe(2)
  })

  it('give up an answer that does not come', async () => {
    const { now, polls } = setUpList(() => new Promise(() => {}))
    await pass(10_001)
    expect(now().error?.status).toBe(0)
    await pass(4000)
    expect(polls()).toBe(2)
  })
})

describe.each([401, 403, 404])('a refusal with %i', (code) => {
  it('is final until somebody asks anew', async () => {
    const { client, server } = setUp()
    server.on(`GET ${jobUrl}`, problem(code, 'no such job'))
    const { now } = follow(client.job(jobId))
    await latestStream().refuse()
    await pass(120_000)
    expect(now()).toMatchObject({ connection: 'failed', data: undefined, error: { status: code, message: 'no such job' } })
    expect(server.requests).toHaveLength(1)
    expect(streams()).toHaveLength(1)

    client.reconnect(jobId)
    await latestStream().tell(queued())
    expect(now()).toMatchObject({ connection: 'open', data: { state: 'queued' }, error: undefined })
  })
})

describe('without a network', () => {
  it('hardly anything is asked, and all goes on at once when it is back', async () => {
    const { client, server } = setUp()
    const { now } = follow(client.status())
    await latestStream().tell(status())
    goOffline()
    await pass(0)
    expect(now()).toMatchObject({ connection: 'offline', data: { queue: { queued: 3 } } })
    expect(openStreams()).toHaveLength(0)
    await pass(600_000)
    expect(streams()).toHaveLength(1)
    expect(server.requests.length).toBeLessThan(16)
    goOnline()
    await pass(0)
    expect(openStreams()).toHaveLength(1)
    await latestStream().tell(status({ queued: 0 }))
    expect(now()).toMatchObject({ connection: 'open', data: { queue: { queued: 0 } } })
  })
})

it('a network that is not seen is used nevertheless: without any other, this machine still reaches itself', async () => {
  const { client, server } = setUp()
  server.on('GET /api/ai/status', json(status()))
  goOffline()
  const { now } = follow(client.status())
  await pass(0)
  expect(now()).toMatchObject({ connection: 'polling', data: { queue: { queued: 3 } } })
  server.on('GET /api/ai/status', json(status({ queued: 4 })))
  await pass(2000)
  expect(now()).toMatchObject({ connection: 'polling', data: { queue: { queued: 4 } } })
})

describe('with a token', () => {
  it('that does not come, an answer is given up as well', async () => {
    const server = fakeServer()
    server.on(`GET ${jobUrl}`, json(queued()))
    const getToken = vi.fn((): string | Promise<string> => new Promise(() => {}))
    const { now } = follow(createSluiceClient({ fetch: server.fetch, getToken }).job(jobId))
    await pass(20_001)
    expect(now().error?.status).toBe(0)
    getToken.mockReturnValue('t')
    await pass(30_000)
    expect(now().data?.state).toBe('queued')
  })

  function setUpTokens() {
    const server = fakeServer()
    let asked = 0
    const client = createSluiceClient({ baseUrl: 'https://ai.example', fetch: server.fetch, getToken: async () => `t${++asked}` })
    return { server, client, url: `https://ai.example${jobUrl}` }
  }

  it('a stream carries it, resumes where it was, and asks for a new one each time', async () => {
    const { server, client, url } = setUpTokens()
    const first = fakeBody()
    server.on(`GET ${url}/events`, first.response)
    const { now } = follow(client.job(jobId))
    await pass(0)
    first.tell(queued(), '7')
    await pass(0)
    expect(now()).toMatchObject({ connection: 'open', data: { state: 'queued' } })

    const second = fakeBody()
    server.on(`GET ${url}/events`, second.response)
    first.end()
    await pass(1000)
    second.tell(running(), '8')
    await pass(0)
    expect(now()).toMatchObject({ connection: 'open', data: { state: 'running' } })
    const [one, two] = server.to(`GET ${url}/events`)
    expect(one!.headers.get('Authorization')).toBe('Bearer t1')
    expect(one!.headers.get('Last-Event-ID')).toBeNull()
    expect(two!.headers.get('Authorization')).toBe('Bearer t2')
    expect(two!.headers.get('Last-Event-ID')).toBe('7')
    expect(streams()).toHaveLength(0)
  })

  it('a stream that was left is aborted', async () => {
    const { server, client, url } = setUpTokens()
    const body = fakeBody()
    server.on(`GET ${url}/events`, body.response)
    const { leave } = follow(client.job(jobId))
    await pass(0)
    body.tell(queued())
    await pass(0)
    leave()
    await pass(1000)
    expect(body.wasAborted()).toBe(true)
    expect(vi.getTimerCount()).toBe(0)
  })

  it('a stream ends with the job, even where an abort ends no read', async () => {
    const { server, client, url } = setUpTokens()
    const body = fakeBody()
    server.on(`GET ${url}/events`, () => body.response({ signal: null }))
    const { now } = follow(client.job(jobId))
    await pass(0)
    body.tell(done())
    await pass(0)
    expect(now()).toMatchObject({ connection: 'closed', data: { state: 'done' } })
  })

  it('a stream in which nothing comes for 45 s, not even a heartbeat, is opened anew', async () => {
    const { server, client, url } = setUpTokens()
    const dead = fakeBody()
    server.on(`GET ${url}/events`, dead.response)
    follow(client.job(jobId))
    await pass(0)
    dead.tell(queued())
    await pass(44_000)
    expect(server.requests).toHaveLength(1)
    server.on(`GET ${url}/events`, fakeBody().response)
    await pass(2000)
    expect(server.to(`GET ${url}/events`)).toHaveLength(2)
  })

  it('a 401 is final', async () => {
    const { server, client, url } = setUpTokens()
    server.on(`GET ${url}/events`, problem(401, 'the token has expired'))
    server.on(`GET ${url}`, problem(401, 'the token has expired'))
    const { now } = follow(client.job(jobId))
    await pass(60_000)
    expect(now()).toMatchObject({ connection: 'failed', error: { status: 401 } })
    expect(server.requests).toHaveLength(2)
  })

  it('a 204 ends the job that is already known to have ended', async () => {
    const { server, client, url } = setUpTokens()
    server.on(`GET ${url}/events`, () => new Response(null, { status: 204 }))
    server.on(`GET ${url}`, json(done()))
    const { now } = follow(client.job(jobId))
    await pass(60_000)
    expect(now()).toMatchObject({ connection: 'closed', data: { state: 'done' } })
    expect(server.requests).toHaveLength(2)
  })
})

describe('a job', () => {
  it('never goes back in line while it waits', async () => {
    const { client } = setUp()
    const { now } = follow(client.job(jobId))
    const seen: unknown[] = []
    for (const position of [12, 9, 30, 8, 11]) {
      await latestStream().tell(queued({ position }))
      seen.push(now().data?.place)
    }
    expect(seen).toEqual([12, 9, 9, 8, 8])
    await latestStream().tell(queued({ position: null }))
    expect(now().data?.place).toBeNull()
    await latestStream().tell(queued({ position: 20 }))
    expect(now().data?.place).toBe(8)
  })

  it('has a place of its own in each wait', async () => {
    const { client } = setUp()
    const { now } = follow(client.job(jobId))
    await latestStream().tell(queued({ position: 2 }))
    await latestStream().tell(running())
    await latestStream().tell(job({ lease: 1, waiting: { ...queued().waiting!, position: 40 } }))
    expect(now().data?.place).toBe(40)
  })

  it('that was cancelled is known to be at once, and its stream ends', async () => {
    const { client, server } = setUp()
    server.on(`POST ${jobUrl}/cancel`, json(job({ state: 'cancelled' })))
    const { now } = follow(client.job(jobId))
    await latestStream().tell(queued())
    await client.cancel(jobId)
    expect(now()).toMatchObject({ connection: 'closed', data: { state: 'cancelled' } })
    expect(openStreams()).toHaveLength(0)
  })

  it('that is retried is followed again', async () => {
    const { client, server } = setUp()
    server.on(`POST ${jobUrl}/retry`, json(queued()))
    const { now } = follow(client.job(jobId))
    await latestStream().tell(failed())
    await pass(0)
    expect(openStreams()).toHaveLength(0)
    await client.retry(jobId)
    expect(now().data?.state).toBe('queued')
    expect(openStreams()).toHaveLength(1)
    await latestStream().tell(done())
    await pass(0)
    expect(now()).toMatchObject({ connection: 'closed', data: { state: 'done' } })
  })
})
