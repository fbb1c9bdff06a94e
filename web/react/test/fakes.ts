import { vi } from 'vitest'

/** A stream of events that somebody asked for, in the hands of a test. Each method lets everything happen that follows. */
export class FakeStream {
  static all: FakeStream[] = []

  state: 'connecting' | 'open' | 'closed' = 'connecting'
  readonly response: Promise<Response>
  private answer!: (response: Response) => void
  private readonly body = fakeBody()

  constructor(readonly url: string, readonly signal: Recorded['signal']) {
    this.response = new Promise((resolve) => (this.answer = resolve))
    signal?.addEventListener('abort', () => (this.state = 'closed'))
    FakeStream.all.push(this)
  }
  /** Answers, and lives: heartbeats come. */
  open() {
    this.state = 'open'
    this.answer(this.body.response(this))
    const beat = setInterval(this.body.beat, 15_000)
    this.signal?.addEventListener('abort', () => clearInterval(beat))
    return pass(0)
  }
  /** Opens if it has to, and tells. */
  async tell(data: unknown, id?: string) {
    if (this.state === 'connecting') await this.open()
    if (this.state === 'open') this.body.tell(data, id)
    await pass(0)
  }
  break() {
    this.body.end()
    return pass(0)
  }
  /** The server refuses, or has ended the stream for good. */
  refuse() {
    this.answer(new Response(null, { status: 204 }))
    return pass(0)
  }
}

export const streams = () => FakeStream.all
export const openStreams = () => streams().filter(({ state }) => state !== 'closed')
export const latestStream = () => streams().at(-1)!

/** For a `beforeEach`. */
export const forgetStreams = () => void (FakeStream.all = [])

export interface Recorded {
  method: string
  path: string
  headers: Headers
  body: unknown
  signal: AbortSignal | null | undefined
}

type Handler = (request: Recorded) => Response | Promise<Response>

const openFakeStream = ({ path, signal }: Recorded): Handler | undefined =>
  path.endsWith('/events') ? () => new FakeStream(path, signal).response : undefined

export const json = (body: unknown, status = 200) => new Response(JSON.stringify(body), { status })
export const problem = (status: number, detail: string, headers: Record<string, string> = {}) =>
  new Response(JSON.stringify({ type: 'urn:x', title: 'No', status, detail, request_id: 'r' }), { status, headers })

/** A server whose answers a test sets. What has no answer cannot be reached, but streams: they are FakeStreams. */
export function fakeServer() {
  const requests: Recorded[] = []
  const handlers = new Map<string, Handler>()
  const server = {
    requests,
    to: (route: string) => requests.filter(({ method, path }) => `${method} ${path}` === route),
    on(route: string, answer: Handler | Response) {
      handlers.set(route, typeof answer === 'function' ? answer : () => answer.clone())
    },
    down(route: string) {
      handlers.delete(route)
    },
    fetch: vi.fn(async (input: RequestInfo | URL, init: RequestInit = {}) => {
      const { method = 'GET', body, signal } = init
      const request = {
        method, path: String(input), headers: new Headers(init.headers), signal,
        body: typeof body === 'string' ? JSON.parse(body) : undefined,
      }
      const given = handlers.get(`${method} ${request.path}`)
      const handler = given ?? openFakeStream(request)
      if (given || !handler) requests.push(request)
      if (!handler) throw new TypeError('Failed to fetch')
      return Promise.race([
        handler(request),
        new Promise<never>((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason))),
      ])
    }),
  }
  return server
}

/** A text/event-stream that a test writes. */
export function fakeBody() {
  let write!: ReadableStreamDefaultController<Uint8Array>
  let aborted = false
  const stream = new ReadableStream<Uint8Array>({ start: (controller) => void (write = controller) })
  return {
    /** As of a real fetch: reading fails once the request's signal has aborted. */
    response({ signal }: Pick<Recorded, 'signal'>) {
      signal?.addEventListener('abort', () => {
        aborted = true
        write.error(signal.reason)
      })
      return new Response(stream, { headers: { 'Content-Type': 'text/event-stream' } })
    },
    tell: (data: unknown, id = '1') => write.enqueue(new TextEncoder().encode(`id: ${id}\nevent: state\ndata: ${JSON.stringify(data)}\n\n`)),
    beat: () => write.enqueue(new TextEncoder().encode(':\n\n')),
    end: () => write.close(),
    wasAborted: () => aborted,
  }
}

const setProperty = (target: object, name: string, value: unknown, event: [EventTarget, string]) => {
  vi.spyOn(target as Record<string, unknown>, name as never, 'get' as never).mockReturnValue(value as never)
  event[0].dispatchEvent(new Event(event[1]))
}
export const hide = () => setProperty(document, 'visibilityState', 'hidden', [document, 'visibilitychange'])
export const show = () => setProperty(document, 'visibilityState', 'visible', [document, 'visibilitychange'])
export const goOffline = () => setProperty(navigator, 'onLine', false, [window, 'offline'])
export const goOnline = () => setProperty(navigator, 'onLine', true, [window, 'online'])

/** Lets time pass, and everything happen that is due in it. */
export const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms)
