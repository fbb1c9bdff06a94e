import type { Audience, Connection } from './connection.js'
import type { SluiceError } from './problem.js'

/** What is known at one moment. The same object for as long as nothing changed. */
export interface Snapshot<T> {
  /** The newest news; kept while the connection is in trouble. */
  readonly data: T | undefined
  /** Why there is no news; undefined once there is some again. */
  readonly error: SluiceError | undefined
  readonly connection: Connection
  /** When the data came, by this machine's clock in milliseconds. */
  readonly receivedAt: number
}

/** One shared subject to follow, in the shape that `useSyncExternalStore` takes. */
export interface Watch<T> {
  subscribe(listener: () => void): () => void
  getSnapshot(): Snapshot<T>
  getServerSnapshot(): Snapshot<T>
}

/** What a store is about, and how to follow it. */
export interface Subject<T> {
  /** Two subjects of the same key are one. */
  key: string
  /** Reads news. Called for each store anew, so that what it remembers begins and ends with the store. */
  reader(): (news: unknown) => T
  isFinal(data: T): boolean
  connect(audience: Audience): () => void
}

/** What is known before anything is, on a server too. */
const nothing: Snapshot<never> = { data: undefined, error: undefined, connection: 'connecting', receivedAt: 0 }

/** A connection outlives its last listener by this long, so that one page after another, or a double mount, shares it. */
const lingerFor = 1000

interface Store<T> {
  subscribe(listener: () => void): () => void
  snapshot(): Snapshot<T>
  /** Hands in news that came another way, such as the answer to a cancellation. */
  put(news: unknown): void
  /** Connects anew, after a failure. */
  restart(): void
}

/** One store for each subject that anybody listens to, made for the first listener and dropped after the last. */
export interface Stores {
  watch<T>(subject: Subject<T>): Watch<T>
  /** The store of what somebody listens to. */
  find(key: string): Store<unknown> | undefined
}

export function createStores(): Stores {
  const stores = new Map<string, Store<unknown>>()
  const find = (key: string) => stores.get(key)
  const make = <T>(subject: Subject<T>) => {
    const store = createStore(subject, () => stores.delete(subject.key))
    stores.set(subject.key, store)
    return store
  }
  return {
    watch: <T>(subject: Subject<T>): Watch<T> => ({
      subscribe: (listener) => (find(subject.key) ?? make(subject)).subscribe(listener),
      getSnapshot: () => (find(subject.key) as Store<T> | undefined)?.snapshot() ?? nothing,
      getServerSnapshot: () => nothing,
    }),
    find,
  }
}

function createStore<T>(subject: Subject<T>, dropped: () => void): Store<T> {
  const read = subject.reader()
  const listeners = new Set<() => void>()
  let snapshot: Snapshot<T> = nothing
  let latest = ''
  let disconnect: (() => void) | undefined
  let lingering: ReturnType<typeof setTimeout> | undefined

  const update = (change: Partial<Snapshot<T>>) => {
    const names = Object.keys(change) as (keyof Snapshot<T>)[]
    if (names.every((name) => Object.is(snapshot[name], change[name]))) return
    snapshot = { ...snapshot, ...change }
    for (const listener of [...listeners]) listener()
  }
  const take = (news: unknown, at = Date.now()) => update({ data: read(news), receivedAt: at })
  const finished = () => snapshot.data !== undefined && subject.isFinal(snapshot.data)

  const audience: Audience = {
    connection: (connection, error) => update({ connection, error }),
    news(text, at) {
      if (text !== latest) take(JSON.parse(text), at)
      latest = text
    },
    finished,
  }
  const stop = () => {
    disconnect?.()
    disconnect = undefined
  }
  const start = () => {
    stop()
    disconnect = subject.connect(audience)
  }

  return {
    subscribe(listener) {
      // A listener of its own for each subscription: the same function may be handed in twice.
      const own = () => listener()
      listeners.add(own)
      clearTimeout(lingering)
      if (!disconnect) start()
      return () => {
        if (!listeners.delete(own) || listeners.size) return
        lingering = setTimeout(() => {
          stop()
          dropped()
        }, lingerFor)
      }
    },
    snapshot: () => snapshot,
    put(news) {
      const ended = finished()
      latest = ''
      take(news)
      if (finished()) {
        stop()
        audience.connection('closed')
      } else if (ended) start()
    },
    restart() {
      audience.connection('connecting')
      start()
    },
  }
}
