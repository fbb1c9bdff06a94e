/** What the browser tells of the page and the network. On a server all of it is quiet. */

export const isOnline = (): boolean => globalThis.navigator?.onLine !== false

export const isHidden = (): boolean => globalThis.document?.visibilityState === 'hidden'

/** Calls back when the network comes or goes, or the page is shown or hidden. */
export function onChange(callback: (event: Event) => void, signal: AbortSignal): void {
  globalThis.addEventListener?.('online', callback, { signal })
  globalThis.addEventListener?.('offline', callback, { signal })
  globalThis.document?.addEventListener('visibilitychange', callback, { signal })
}

/** Resolves after so long, or as soon as the network comes back or the page to the front, or the signal says to stop. */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  const rest = limit(signal, ms)
  onChange(({ type }) => {
    if (isOnline() && (type === 'online' || !isHidden())) rest.abort()
  }, rest.signal)
  await rest.over
}

/** A signal that aborts with its parent, by `abort`, or by itself once the time of the last `within` is over. */
export interface Limit {
  signal: AbortSignal
  /** Resolves when it has aborted. */
  over: Promise<void>
  abort(): void
  /** Starts the time anew; without a length there is none any more. */
  within(ms?: number): void
}

export function limit(parent?: AbortSignal, ms?: number): Limit {
  const own = new AbortController()
  const { signal } = own
  let timer: ReturnType<typeof setTimeout> | undefined
  const abort = () => {
    clearTimeout(timer)
    own.abort()
  }
  const within = (length?: number) => {
    clearTimeout(timer)
    if (length && !signal.aborted) timer = setTimeout(abort, length)
  }
  const over = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()))
  if (parent?.aborted) abort()
  parent?.addEventListener('abort', abort, { signal })
  within(ms)
  return { signal, over, abort, within }
}
