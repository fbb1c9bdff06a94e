import { isWaiting, type Job } from './api.js'

/**
 * A job as it is followed: `place` is its position as a person may see it. Jobs of a higher priority can overtake, so
 * the position that the server tells goes up at times; the place never does while the job waits for the same start.
 */
export type FollowedJob = Job & { place: number | null }

/** Remembers the best place of a wait. */
export function followPlace(): (job: Job) => FollowedJob {
  let best = Infinity
  let lease = -1
  return (job) => {
    if (!isWaiting(job.state) || job.lease !== lease) best = Infinity
    lease = job.lease
    const position = job.waiting?.position ?? null
    if (position === null) return { ...job, place: null }
    best = Math.min(best, position)
    return { ...job, place: best }
  }
}

/** Whether others came in front, so that the server's sentence would name a place that is worse than the one shown. */
export const wasOvertaken = (job: FollowedJob | undefined): boolean => !!job?.place && (job.waiting?.position ?? 0) > job.place
