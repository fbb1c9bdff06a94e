import { vi } from 'vitest'

/** The browser's EventSource, in the hands of a test. */
export class FakeEventSource extends EventTarget {
  static readonly CONNECTING = 0
  static readonly OPEN = 1
  static readonly CLOSED = 2
  static all: FakeEventSource[] = []

  readyState = FakeEventSource.CONNECTING
  onopen: (() => void) | null = null
  onerror: (() => void) | null = null

  constructor(readonly url: string) {
    super()
    FakeEventSource.all.push(this)
  }
  close() {
    this.readyState = FakeEventSource.CLOSED
  }
  open() {
    this.readyState = FakeEventSource.OPEN
    this.onopen?.()
  }
  /** Opens if it has to, and tells. */
  tell(data: unknown, name = 'state', lastEventId = '1') {
    if (this.readyState === FakeEventSource.CONNECTING) this.open()
    if (this.readyState === FakeEventSource.OPEN)
      this.dispatchEvent(new MessageEvent(name, { data: JSON.stringify(data), lastEventId }))
  }
  /** A break, which the browser mends by itself. */
  break() {
    this.readyState = FakeEventSource.CONNECTING
    this.onerror?.()
  }
  /** The server refuses, or has ended the stream for good with 204. */
  refuse() {
    this.readyState = FakeEventSource.CLOSED
    this.onerror?.()
  }
}

export const streams = () => FakeEventSource.all
export const openStreams = () => streams().filter(({ readyState }) => readyState !== FakeEventSource.CLOSED)
export const latestStream = () => streams().at(-1)!

/** Installs the fake EventSource. Call it in a `beforeEach`. */
export function fakeEventSource() {
  FakeEventSource.all = []
  vi.stubGlobal('EventSource', FakeEventSource)
}

export interface Recorded {
  method: string
  path: string
  headers: Headers
  body: unknown
  signal: AbortSignal | null | undefined
}

type Handler = (request: Recorded) => Response | Promise<Response>

export const json = (body: unknown, status = 200) => new Response(JSON.stringify(body), { status })
export const problem = (status: number, detail: string, headers: Record<string, string> = {}) =>
  new Response(JSON.stringify({ type: 'urn:x', title: 'No', status, detail, request_id: 'r' }), { status, headers })

/** A server whose answers a test sets. What has no answer cannot be reached. */
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
      requests.push(request)
      const handler = handlers.get(`${method} ${request.path}`)
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
