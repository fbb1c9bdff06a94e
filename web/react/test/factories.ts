import type { Breaker, Job, Status, Upstream, Waiting } from '../src/client.js'

export const jobId = '0199f0c1-7f5d-7c55-8f6e-3f1d6f0a2b11'

export const job = (differs: Partial<Job> = {}): Job => ({
  id: jobId, tenant: 'default', type: 'diary.entry', state: 'queued', priority: 5, attempts: 0, max_attempts: 5, lease: 0,
  worker: null, upstream: 'openai:gpt-5', idempotency_key: null, callback_url: null, scheduled_at: null, expires_at: null,
  deadline_at: null, created_at: '2026-11-26T10:00:00Z', updated_at: '2026-11-26T10:00:00Z', started_at: null,
  finished_at: null, held_at: null, last_error: null, result: null, waiting: null, ...differs,
})

export const waiting = (differs: Partial<Waiting> = {}): Waiting => ({
  reason: 'queue', sentence: '11 jobs are ahead in the line for openai/gpt-5.', until: null, position: 12, eta_seconds: null,
  ...differs,
})

export const queued = (differs: Partial<Waiting> = {}): Job => job({ waiting: waiting(differs) })
export const running = (): Job => job({ state: 'running', lease: 1, worker: 'w' })
export const done = (): Job => job({ state: 'done', lease: 1, attempts: 1, result: { output_text: 'A good week.' } })
export const failed = (): Job => job({ state: 'failed', lease: 1, attempts: 1, last_error: 'the provider refused the call' })

export const upstream = (name: string, breaker: Partial<Breaker> = {}): Upstream => ({
  name,
  breaker: { state: 'closed', reason: null, failures: 0, opened_at: null, retry_at: null, ...breaker },
  quota: { requests: { limit: null, remaining: null, resets_at: null }, tokens: { limit: null, remaining: null, resets_at: null } },
  in_flight: 0,
})

export const status = (differs: Partial<Status['queue']> = {}, upstreams = [upstream('openai:gpt-5')]): Status => ({
  queue: { queued: 3, running: 2, delayed: 0, failed: 1, done: 40, cancelled: 0, oldest_queued_seconds: 4, ...differs },
  upstreams,
  now: '2026-11-26T10:00:00Z',
})
