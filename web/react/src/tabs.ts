import { limit } from './browser.js'
import type { ServerEvent } from './events.js'
import type { OpenStream } from './stream.js'

const ask = 'ask'

/** A tab that listens answers at once. One that has not when it is asked again, after this long, is frozen. */
const askEvery = 60_000

/**
 * Shares each stream among the tabs of a browser, which has but six connections to a server over HTTP/1.1. The tab that
 * holds the stream's lock listens to the server and passes on what it hears; the others wait for the lock and listen to
 * that tab. When it goes, the next one opens a stream of its own. `scope` names the tabs that may share.
 */
export function shareAmongTabs(open: OpenStream, scope: string): OpenStream {
  if (!globalThis.navigator?.locks || !globalThis.BroadcastChannel) return open
  return async (request, on) => {
    const name = `sluice ${scope} ${request.path}`
    const channel = new BroadcastChannel(name)
    let leads = false
    let latest: ServerEvent | undefined
    let heard = true

    const tellLatest = () => {
      if (leads && latest) channel.postMessage(latest)
    }
    channel.onmessage = ({ data }: MessageEvent<ServerEvent | typeof ask>) => {
      if (data === ask) return tellLatest()
      if (leads) return
      heard = true
      on.open()
      on.event(data)
    }
    const lead = () => {
      leads = true
      return open(request, {
        ...on,
        event(event) {
          latest = { ...event, at: Date.now() } // one that asks later has to know
          tellLatest()
          on.event(event)
        },
      })
    }
    const patience = limit(request.signal)
    const asking = setInterval(() => {
      if (leads) return
      if (!heard) patience.abort()
      heard = false
      channel.postMessage(ask)
    }, askEvery)
    channel.postMessage(ask)
    try {
      await navigator.locks.request(name, { signal: patience.signal }, lead)
    } catch {
      // The wait for the lock was given up.
    } finally {
      clearInterval(asking)
      patience.abort()
      channel.close()
    }
  }
}
