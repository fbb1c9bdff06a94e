/** The words of the API, named from the types that are generated of its OpenAPI file. */
import type { components } from './api.gen.js'

type Schemas = components['schemas']

/** Where a job is in its life; `done`, `failed` and `cancelled` are final. */
export type State = Schemas['State']
/** Why a job has not started, and until when. */
export type Waiting = NonNullable<Schemas['Waiting']>
/** A job without its payload, as lists have it. */
export type JobSummary = Schemas['JobSummary']
/** The queue's counts and every upstream. */
export type Status = Schemas['Status']
export type QueueCounts = Schemas['QueueCounts']
export type Upstream = Schemas['Upstream']
export type Breaker = Schemas['Breaker']
export type BreakerState = Schemas['BreakerState']
export type EnqueueRequest = Schemas['EnqueueRequest']
export type EnqueueResponse = Schemas['EnqueueResponse']
/** An error's body, after RFC 9457. */
export type Problem = Schemas['Problem']

/** What became of a job that is done. A stream leaves out `response`, the provider's own answer. */
export interface Result {
  output_text?: string
  usage?: Schemas['Usage']
  response?: unknown
  [member: string]: unknown
}

/** A job. A stream leaves out its payload. */
export type Job = Omit<Schemas['Job'], 'payload' | 'result'> & {
  payload?: Schemas['Job']['payload']
  result: Result | null
}

/** Whether a job in this state has ended. */
export const isFinal = (state: State): boolean => state === 'done' || state === 'failed' || state === 'cancelled'

/** Whether a job in this state has yet to start. */
export const isWaiting = (state: State): boolean => state === 'queued' || state === 'delayed'
