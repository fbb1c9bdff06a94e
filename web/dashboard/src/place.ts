import { useSyncExternalStore } from 'react'
import type { State } from '@sluice/react'

/** What the URL says is looked at: a filter of the jobs, and one of them. */
export interface Place {
  state: State | null
  job: string | null
}

const states: readonly string[] = ['queued', 'running', 'delayed', 'failed', 'done', 'cancelled'] satisfies State[]
const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

/** Reads a query, whoever wrote it: what is no filter or no id is none. */
export function readPlace(query: string): Place {
  const params = new URLSearchParams(query)
  const [state, job] = [params.get('state') ?? '', params.get('job') ?? '']
  return { state: states.includes(state) ? (state as State) : null, job: uuid.test(job) ? job : null }
}

export function placeUrl({ state, job }: Place): string {
  const given = Object.entries({ state, job }).filter((pair): pair is [string, string] => pair[1] !== null)
  return given.length ? `/?${new URLSearchParams(given)}` : '/'
}

const moved = 'sluice-moved'

export function goTo(place: Place): void {
  history.pushState(null, '', placeUrl(place))
  dispatchEvent(new Event(moved))
}

function subscribe(listener: () => void): () => void {
  const events = [moved, 'popstate']
  for (const event of events) addEventListener(event, listener)
  return () => events.forEach((event) => removeEventListener(event, listener))
}

export function usePlace(): Place {
  return readPlace(useSyncExternalStore(subscribe, () => location.search))
}
