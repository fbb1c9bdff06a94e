import { expect } from '@playwright/test'

export const upstream = 'openai:gpt-5'

/** What the simulated provider is told. The whole of it is in pkg/llm/llmtest. */
export interface Script {
  mode?: 'healthy' | 'rate_limited' | 'down' | 'error' | 'out_of_credit' | 'hang'
  rpm?: number
  tpm?: number
  latency_ms?: number
}

interface Job {
  id: string
  state: string
  waiting: { reason: string; sentence: string } | null
  result: { output_text: string } | null
}

interface Attempt {
  outcome: string | null
}

async function send(method: string, url: string, body?: unknown, headers: Record<string, string> = {}): Promise<any> {
  const response = await fetch(url, {
    method,
    headers: { ...(body === undefined ? {} : { 'Content-Type': 'application/json' }), ...headers },
    body: body === undefined ? null : JSON.stringify(body),
  })
  if (!response.ok) throw new Error(`${method} ${url}: ${response.status} ${await response.text()}`)
  return response.json()
}

/**
 * A system of a test's own: a database, an API, a worker, a provider. e2e/browser_test.go sets it up. Here a test does
 * what it does not do by the page.
 */
export class Stage {
  readonly api: string
  readonly provider: string
  readonly key: string
  private readonly control: string

  private constructor(made: { id: number; api: string; provider: string; key?: string }, house: string) {
    this.api = made.api
    this.provider = made.provider
    this.key = made.key ?? ''
    this.control = `${house}/stages/${made.id}`
  }

  static async set(scenery: { auth: boolean; demo: boolean; script: Script }): Promise<Stage> {
    const house = process.env.SLUICE_TEST_STAGES
    if (!house) throw new Error('run these tests by `make browser`: it sets their stages')
    return new Stage(await send('POST', `${house}/stages`, scenery), house)
  }

  strike = () => send('DELETE', this.control)
  stopAPI = () => send('POST', `${this.control}/api/stop`)
  startAPI = () => send('POST', `${this.control}/api/start`)

  /** Changes how the provider behaves from now on. */
  becomes = (script: Script) => send('POST', `${this.provider}/control`, script)

  script = async (): Promise<Script> => (await send('GET', `${this.provider}/control`)).script

  async enqueue(input: string, more: object = {}): Promise<string> {
    return (await this.call('POST', '/api/ai/enqueue', { type: 'diary.entry', payload: { input }, ...more })).id
  }

  async enqueueMany(inputs: string[]): Promise<string[]> {
    const jobs = inputs.map((input) => ({ type: 'diary.entry', payload: { input } }))
    return (await this.call('POST', '/api/ai/enqueue/batch', jobs)).ids
  }

  job = (id: string): Promise<Job> => this.call('GET', `/api/ai/jobs/${id}`)

  async attempts(id: string): Promise<Attempt[]> {
    return (await this.call('GET', `/api/ai/jobs/${id}/attempts`)).attempts
  }

  async untilJob(id: string, state: string): Promise<void> {
    await expect.poll(async () => (await this.job(id)).state, { message: `the state of job ${id}` }).toBe(state)
  }

  async untilOutcomes(id: string, outcomes: (string | null)[]): Promise<void> {
    await expect.poll(async () => (await this.attempts(id)).map(({ outcome }) => outcome)).toEqual(outcomes)
  }

  async untilBreaker(state: string): Promise<void> {
    const breaker = async () => (await this.call('GET', '/api/ai/status')).upstreams[0]?.breaker.state
    await expect.poll(breaker, { message: 'the breaker' }).toBe(state)
  }

  private call(method: string, path: string, body?: unknown): Promise<any> {
    return send(method, this.api + path, body, this.key ? { Authorization: `Bearer ${this.key}` } : {})
  }
}
