import type { paths } from './api.gen.js'
import { isFinal, type EnqueueRequest, type EnqueueResponse, type Job, type Status } from './api.js'
import { connect, type Source } from './connection.js'
import { followPlace, type FollowedJob } from './place.js'
import type { SluiceError } from './problem.js'
import { createRequest, createSend, fill, type Access, type Answer, type Request, type RequestOptions } from './request.js'
import { createStores, type Subject, type Watch } from './store.js'
import { createOpenStream } from './stream.js'
import { submit, type EnqueueOptions } from './submit.js'
import { shareAmongTabs } from './tabs.js'

export type * from './api.js'
export type { Connection } from './connection.js'
export { etaRange, jobEta, type EtaRange } from './eta.js'
export type { FollowedJob } from './place.js'
export { SluiceError } from './problem.js'
export type { Access, Request } from './request.js'
export type { Snapshot, Watch } from './store.js'
export { startsNow, type EnqueueOptions } from './submit.js'
export type { paths } from './api.gen.js'

export interface ClientOptions extends Access {
  /** Milliseconds between polls where there is no stream (2,000); a hidden page waits 15 times as long. */
  pollInterval?: number
  /**
   * Whether tabs share their streams: true unless there is `getToken`, since tabs share cookies but not tokens. A string
   * shares them among the tabs of the same string alone, such as a user's id.
   */
  shareTabs?: boolean | string
}

type GettablePath = { [P in keyof paths]: paths[P] extends { get: { responses: unknown } } ? P : never }[keyof paths]
type Get<P extends GettablePath> = NonNullable<paths[P]['get']>

/** One page's way to Sluice. However many components follow a thing, there is one connection for it. */
export interface SluiceClient {
  /** Any operation of the API, typed: `request('get', '/api/ai/jobs', {query: {state: 'failed'}})`. */
  request: Request
  /** Follows the queue and every upstream. */
  status(): Watch<Status>
  /** Follows a job until it has ended. */
  job(id: string): Watch<FollowedJob>
  /** Follows anything else that can be read, such as a list of jobs, by asking again and again. */
  poll<P extends GettablePath>(path: P, options?: Omit<RequestOptions<Get<P>>, 'headers' | 'signal'>): Watch<Answer<Get<P>>>
  /** Enqueues a job, once, however often the network fails on the way. */
  enqueue(body: EnqueueRequest, options?: EnqueueOptions): Promise<EnqueueResponse>
  cancel(id: string): Promise<Job>
  retry(id: string): Promise<Job>
  /** Connects anew to a job, or to the status: after a failure that was put right, such as a login that had run out. */
  reconnect(id?: string): void
}

const statusPath = '/api/ai/status'
const jobPath = (id: string) => fill('/api/ai/jobs/{id}', { path: { id } })

/** A client without any framework. Nothing happens until something is asked for or followed, so it may be made on a server. */
export function createSluiceClient(options: ClientOptions = {}): SluiceClient {
  const { baseUrl = '', getToken, pollInterval = 2000, shareTabs = !getToken } = options
  const send = createSend(options)
  const request = createRequest(send)
  const stores = createStores()

  const stream = createOpenStream(send)
  const openStream = shareTabs === false ? stream : shareAmongTabs(stream, `${baseUrl} ${shareTabs}`)
  const get = async (path: string, signal: AbortSignal) => (await send(path, { signal })).text()

  const follow = <T>(source: Source, how: Pick<Subject<T>, 'reader' | 'isFinal'>): Watch<T> =>
    stores.watch({
      key: source.path,
      connect: (audience) => connect(source, { get, openStream, pollInterval }, audience),
      ...how,
    })
  const endless = <T>() => ({ reader: () => (news: unknown) => news as T, isFinal: () => false })

  const act = (action: 'cancel' | 'retry') => async (id: string): Promise<Job> => {
    const put = (job: Job) => stores.find(jobPath(id))?.put(job)
    const params = { path: { id } }
    try {
      const job = await request('post', `/api/ai/jobs/{id}/${action}`, params)
      put(job)
      return job
    } catch (error) {
      // Its state forbids it: somebody else did something to the job after we had the last news of it.
      if ((error as SluiceError).status === 409) request('get', '/api/ai/jobs/{id}', params).then(put, () => {})
      throw error
    }
  }

  return {
    request,
    status: () => follow<Status>({ path: statusPath, stream: `${statusPath}/events` }, endless()),
    job: (id) =>
      follow<FollowedJob>({ path: jobPath(id), stream: `${jobPath(id)}/events` }, {
        reader: () => {
          const place = followPlace()
          return (news) => place(news as Job)
        },
        isFinal: (job) => isFinal(job.state),
      }),
    poll: (path, options) => follow({ path: fill(path, options) }, endless()),
    enqueue: (body, options) => submit(request, body, options),
    cancel: act('cancel'),
    retry: act('retry'),
    reconnect: (id) => stores.find(id === undefined ? statusPath : jobPath(id))?.restart(),
  }
}
