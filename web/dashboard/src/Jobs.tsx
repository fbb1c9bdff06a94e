import { useMemo, useState } from 'react'
import { useSluiceClient, useWatch, type JobSummary, type Snapshot, type State, type Watch } from '@sluice/react'
import { Link } from './Link.js'
import type { Place } from './place.js'
import { useServerNow } from './useNow.js'
import { shortId, span, stateSigns, stateWords } from './words.js'

const tabs: (State | null)[] = [null, 'queued', 'running', 'delayed', 'failed', 'done', 'cancelled']
const pageSize = 25

/** The latest jobs, and why each waits. */
export function Jobs({ place }: { place: Place }) {
  const [paused, setPaused] = useState(false)
  const [page, setPage] = useState({ of: place.state, cursors: [] as string[] }) // cursors of the pages down to this one
  const cursors = page.of === place.state ? page.cursors : []
  const turn = (cursors: string[]) => setPage({ of: place.state, cursors })
  const { data, error } = useJobs(place.state, cursors.at(-1), paused)
  const now = useServerNow(!paused)
  const next = data?.next_cursor

  return (
    <section aria-label="Jobs" className="card jobs">
      <h2>Jobs</h2>
      <div className="bar-of-tabs">
        <nav aria-label="States">
          {tabs.map((state) => (
            <Link key={state} to={{ ...place, state }} aria-current={state === place.state ? 'true' : undefined}>
              {state ? stateWords[state] : 'All'}
            </Link>
          ))}
        </nav>
        <button aria-pressed={paused} onClick={() => setPaused(!paused)}>Pause updates</button>
      </div>
      {error && !error.transient && <p role="alert">{error.message}</p>}
      <Table jobs={data?.jobs} place={place} more={!!next} now={now} />
      <p className="pages">
        <button disabled={!cursors.length} onClick={() => turn(cursors.slice(0, -1))}>Newer</button>
        <button disabled={!next} onClick={() => next && turn([...cursors, next])}>Older</button>
      </p>
    </section>
  )
}

function useJobs(state: State | null, cursor: string | undefined, paused: boolean) {
  const client = useSluiceClient()
  const live = useMemo(
    () => client.poll('/api/ai/jobs', { query: { state: state ?? undefined, cursor, limit: pageSize, include: 'waiting' } }),
    [client, state, cursor],
  )
  return useWatch(useFrozen(live, paused))
}

/** A watch, or once it is paused and was seen, what it showed at that moment. */
function useFrozen<T>(live: Watch<T>, paused: boolean): Watch<T> {
  return useMemo(() => {
    const snapshot: Snapshot<T> = live.getSnapshot()
    if (!paused || !snapshot.data) return live
    return { subscribe: () => () => {}, getSnapshot: () => snapshot, getServerSnapshot: () => snapshot }
  }, [live, paused])
}

interface TableProps {
  jobs: JobSummary[] | undefined
  place: Place
  /** Whether there are older ones. */
  more: boolean
  now: number
}

function Table({ jobs, place, more, now }: TableProps) {
  if (!jobs) return <p className="muted">Loading…</p>
  if (!jobs.length) return <p className="muted">{more ? 'None among the latest; older ones may be.' : 'No jobs here.'}</p>
  return (
    <table>
      <thead>
        <tr>
          <th scope="col">Job</th>
          <th scope="col">State</th>
          <th scope="col">What it waits for</th>
          <th scope="col" className="number">Age</th>
        </tr>
      </thead>
      <tbody>
        {jobs.map((job) => (
          <Row job={job} place={place} now={now} key={job.id} />
        ))}
      </tbody>
    </table>
  )
}

function Row({ job, place, now }: { job: JobSummary; place: Place; now: number }) {
  const open = place.job === job.id
  return (
    <tr data-open={open}>
      <td>
        <Link to={{ ...place, job: job.id }} aria-current={open ? 'true' : undefined} title={job.id} className="id">{shortId(job.id)}</Link>
        <span className="kind">{job.type}</span>
      </td>
      <td><StateBadge state={job.state} /></td>
      <td><div className="why">{whyWords(job)}</div></td>
      <td className="number">{span((now - Date.parse(job.created_at)) / 1000)}</td>
    </tr>
  )
}

export function StateBadge({ state }: { state: State }) {
  return <span className="badge" data-state={state}><span aria-hidden="true">{stateSigns[state]}</span> {stateWords[state]}</span>
}

/** Why a job waits, or else what there is to say of it. */
export function whyWords(job: JobSummary): string {
  if (job.waiting) return job.waiting.sentence
  if (job.state === 'failed') return job.last_error ?? ''
  if (job.state === 'running' && job.attempts) return `try ${job.attempts + 1} of ${job.max_attempts}`
  return ''
}
