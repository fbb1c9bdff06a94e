import type { EnqueueRequest, EnqueueResponse } from './api.js'
import { backoff } from './backoff.js'
import { pause } from './browser.js'
import type { SluiceError } from './problem.js'
import type { Request } from './request.js'

const maxTries = 5

export interface EnqueueOptions {
  /** Default: a random one for this call. */
  idempotencyKey?: string
  signal?: AbortSignal
}

/** Enqueues a job. Tries again after trouble on the way, under one key, so that there is one job however many tries it took. */
export async function submit(request: Request, body: EnqueueRequest, options: EnqueueOptions = {}): Promise<EnqueueResponse> {
  const { idempotencyKey = randomKey(), signal } = options
  for (let tries = 1; ; tries++) {
    try {
      const headers = { 'Idempotency-Key': idempotencyKey }
      // Nobody asked to wait for the end, so the answer is that the job is kept, not the job.
      return (await request('post', '/api/ai/enqueue', { body, signal, headers })) as EnqueueResponse
    } catch (error) {
      const { transient, retryAfter = 0 } = error as SluiceError
      if (!transient || tries === maxTries || signal?.aborted) throw error
      await pause(Math.max(backoff(tries - 1), retryAfter), signal)
    }
  }
}

/** An idempotency key that nobody else has. (`randomUUID` exists only on pages that came over https or from this machine.) */
export const randomKey = (): string => crypto.getRandomValues(new Uint32Array(4)).join('-')

/** Whether work starts at once: it does not wait at all, or for nothing but a worker that takes it next. */
export const startsNow = ({ waiting }: Pick<EnqueueResponse, 'waiting'>): boolean =>
  !waiting || (waiting.reason === 'queue' && waiting.position === 1)
