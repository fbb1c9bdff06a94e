import type { paths } from './api.gen.js'
import { limit } from './browser.js'
import { readProblem, unreachable } from './problem.js'

/** How a client reaches the API. */
export interface Access {
  /** Where the API is, without a slash at the end. Default: the page's own origin. */
  baseUrl?: string
  /**
   * A short-lived token for this user, sent as `Authorization: Bearer`; asked for before every request. Never return an
   * API key: whatever a browser holds is public. Without it the page's own cookies apply.
   */
  getToken?: () => string | Promise<string>
  /** Used in place of the global `fetch`. */
  fetch?: typeof fetch
}

/** Makes a request and returns the answer if it is a good one; throws a SluiceError otherwise. */
export type Send = (path: string, init?: RequestInit) => Promise<Response>

export function createSend({ baseUrl = '', getToken, fetch: custom }: Access): Send {
  return async (path, init) => {
    let response
    try {
      const headers = new Headers(init?.headers)
      if (getToken) headers.set('Authorization', `Bearer ${await Promise.race([getToken(), aborted(init?.signal)])}`)
      response = await (custom ?? fetch)(baseUrl + path, { cache: 'no-store', ...init, headers })
    } catch (cause) {
      throw unreachable(cause)
    }
    if (!response.ok) throw await readProblem(response)
    return response
  }
}

/** Fails once the signal aborts, for what does not know signals. */
const aborted = (signal?: AbortSignal | null) =>
  new Promise<never>((_, reject) => signal?.addEventListener('abort', reject))

type Operation<P extends keyof paths, M extends keyof paths[P]> = NonNullable<paths[P][M]>

type Parameters<O, Kind extends string> = O extends { parameters: infer Groups }
  ? Kind extends keyof Groups ? NonNullable<Groups[Kind]> : never
  : never

type Body<O> = O extends { requestBody: { content: { 'application/json': infer B } } } ? B : never

type Member<Name extends string, T> = [T] extends [never] ? unknown : { [N in Name]: T }
type OptionalMember<Name extends string, T> = [T] extends [never] ? unknown : { [N in Name]?: T }

/** What an operation takes: parameters by their place, the body, headers and a signal. */
export type RequestOptions<O> = Member<'path', Parameters<O, 'path'>> &
  OptionalMember<'query', Parameters<O, 'query'>> &
  Member<'body', Body<O>> & { headers?: Record<string, string>; signal?: AbortSignal }

type Good = 200 | 202
type Content<R> = { [S in keyof R & Good]: R[S] extends { content: { 'application/json': infer T } } ? T : never }

/** What an operation answers with when all is well. */
export type Answer<O> = O extends { responses: infer R } ? Content<R>[keyof Content<R>] : never

/** The methods of a path. */
export type Methods<P extends keyof paths> = {
  [M in keyof paths[P]]: paths[P][M] extends { responses: unknown } ? M : never
}[keyof paths[P]]

/** Any operation of the API, typed by its OpenAPI file. */
export type Request = <P extends keyof paths, M extends Methods<P>>(
  method: M,
  path: P,
  ...options: object extends RequestOptions<Operation<P, M>>
    ? [options?: RequestOptions<Operation<P, M>>]
    : [options: RequestOptions<Operation<P, M>>]
) => Promise<Answer<Operation<P, M>>>

/** What RequestOptions come to, whatever the operation. */
interface AnyOptions {
  path?: Record<string, unknown>
  query?: Record<string, unknown>
  body?: unknown
  headers?: Record<string, string>
  signal?: AbortSignal
}

/** A path with its parameters filled in. */
export function fill(template: string, { path, query }: Pick<AnyOptions, 'path' | 'query'> = {}): string {
  const filled = template.replace(/{(\w+)}/g, (_, name: string) => encodeURIComponent(String(path?.[name])))
  const given = Object.entries(query ?? {}).filter(([, value]) => value !== undefined) as [string, string][]
  return given.length ? `${filled}?${new URLSearchParams(given)}` : filled
}

/** An answer that has not come after this long is given up. The longest that a server can be asked to wait is 60 s. */
const patience = 70_000

export function createRequest(send: Send): Request {
  const request = async (method: string, path: string, options: AnyOptions = {}) => {
    const { body, headers } = options
    const content = body !== undefined && { 'Content-Type': 'application/json' }
    const { signal, abort } = limit(options.signal, patience)
    const init = { method: method.toUpperCase(), signal, headers: { ...content, ...headers }, body: JSON.stringify(body) }
    try {
      return await (await send(fill(path, options), init)).json()
    } catch (cause) {
      throw unreachable(cause)
    } finally {
      abort()
    }
  }
  return request as Request
}
