import { limit } from './browser.js'
import { createEventParser, type ServerEvent } from './events.js'
import type { Send } from './request.js'

/** What a stream tells while it lasts. */
export interface StreamListener {
  open(): void
  event(event: ServerEvent): void
}

export interface StreamRequest {
  path: string
  lastEventId: string
  signal: AbortSignal
}

/** Listens to one stream. Resolves when it is over, however that came about. */
export type OpenStream = (request: StreamRequest, on: StreamListener) => Promise<void>

/** A server sends something at least every 15 s; after this long in silence a stream is dead. */
const stallAfter = 45_000

/** A stream by fetch: unlike an EventSource it carries a token, and hears heartbeats, so that it notices its own death. */
export const createOpenStream = (send: Send): OpenStream => async ({ path, lastEventId, signal }, on) => {
  const life = limit(signal, stallAfter)
  try {
    const headers = { Accept: 'text/event-stream', ...(lastEventId && { 'Last-Event-ID': lastEventId }) }
    const { status, body } = await send(path, { headers, signal: life.signal })
    if (status === 204 || !body) return
    on.open()
    const parse = createEventParser(on.event)
    const text = new TextDecoder()
    const reader = body.getReader()
    // An abort does not end every read: in Node, one was seen to wait for ever after the server had ended the stream.
    void life.over.then(() => reader.cancel()).catch(() => {})
    for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
      life.within(stallAfter)
      parse(text.decode(chunk.value, { stream: true }))
    }
  } catch {
    // Why does not matter: whoever listens asks the plain resource next, which tells.
  } finally {
    life.abort()
  }
}
