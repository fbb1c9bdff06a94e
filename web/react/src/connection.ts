import { backoff, jittered } from './backoff.js'
import { isHidden, isOnline, limit, onChange, pause } from './browser.js'
import { unreachable, type SluiceError } from './problem.js'
import type { OpenStream } from './stream.js'

/**
 * How news come: `open` by a stream, `polling` by asking again and again. `closed`: there will be none, the job has
 * ended. `failed`: the server refused for good (no such job, not allowed).
 */
export type Connection = 'connecting' | 'open' | 'polling' | 'offline' | 'closed' | 'failed'

/** Where news come from: a plain resource and, unless it is only polled, the stream of the same. */
export interface Source {
  path: string
  stream?: string
}

/** Who the news are for. */
export interface Audience {
  /** `at`: when they came, if that was not just now. */
  news(text: string, at?: number): void
  connection(now: Connection, error?: SluiceError): void
  /** Whether there can be no more. */
  finished(): boolean
}

export interface Means {
  get(path: string, signal: AbortSignal): Promise<string>
  openStream: OpenStream
  /** Milliseconds between polls of a page that is seen. */
  pollInterval: number
}

/** A stream that is not open, or an answer that has not come, after this long is given up. */
const patience = 10_000
/** A hidden page polls so many times slower. */
const hiddenFactor = 15
/** A stream that served and ended is opened again after this long. */
const reopenAfter = 1000

/** Keeps an audience informed until it is told to stop: by a stream, and by polls while there is none. */
export function connect(source: Source, means: Means, audience: Audience): () => void {
  const { signal, abort } = limit()
  let lastEventId = ''
  let trusted = false // streams have brought news here

  /** Follows one stream to its end, and tells whether it was of use. */
  const listen = async (path: string): Promise<boolean> => {
    const attempt = limit(signal, patience)
    onChange(() => isOnline() || attempt.abort(), attempt.signal)
    let useful = false
    await means.openStream({ path, lastEventId, signal: attempt.signal }, {
      open() {
        audience.connection('open')
        // A proxy that holds events back opens a stream too.
        if (trusted) attempt.within()
      },
      event({ id, data, at }) {
        if (attempt.signal.aborted) return
        useful = trusted = true
        lastEventId = id
        attempt.within()
        audience.news(data, at)
        if (audience.finished()) attempt.abort()
      },
    })
    attempt.abort()
    return useful
  }

  const poll = async (): Promise<SluiceError | undefined> => {
    const attempt = limit(signal, patience)
    try {
      const text = await means.get(source.path, attempt.signal)
      if (!signal.aborted) audience.news(text)
      return undefined
    } catch (cause) {
      return unreachable(cause)
    } finally {
      attempt.abort()
    }
  }

  const untilNextPoll = (failures: number, error?: SluiceError): number => {
    const calm = means.pollInterval * (isHidden() ? hiddenFactor : 1)
    return Math.max(jittered(calm), failures && backoff(failures, means.pollInterval), error?.retryAfter ?? 0)
  }

  const over = () => signal.aborted || audience.finished()

  const keepInformed = async (): Promise<void> => {
    let refusals = 0 // of streams, in a row
    let streamAgainAt = 0
    let failures = 0 // of polls, in a row
    while (!over()) {
      if (source.stream && isOnline() && Date.now() >= streamAgainAt && (await listen(source.stream))) {
        refusals = 0
        if (over() || !isOnline()) continue
        audience.connection('connecting')
        await pause(jittered(reopenAfter), signal)
      } else if (!over()) {
        if (!isOnline()) streamAgainAt = 0
        else if (Date.now() >= streamAgainAt) streamAgainAt = Date.now() + backoff(++refusals)
        // Without a network as well: a browser sees none where there is only this machine, which can be reached.
        const error = await poll()
        if (over()) break
        if (error && !error.transient) return audience.connection('failed', error)
        failures = error ? failures + 1 : 0
        if (error && !isOnline()) audience.connection('offline')
        else audience.connection(error ? 'connecting' : 'polling', error)
        await pause(untilNextPoll(failures, error), signal)
      }
    }
    if (!signal.aborted) audience.connection('closed')
  }
  void keepInformed()
  return abort
}
