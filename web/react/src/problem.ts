import type { Problem } from './api.js'

/** What the API refused or, with status 0, that it could not be reached. */
export class SluiceError extends Error {
  constructor(
    message: string,
    /** The HTTP status; 0 where there was no answer. */
    readonly status: number,
    /** The answer's body, where it was a problem+json. */
    readonly problem?: Problem,
    /** How long the server asked to wait before another try, in milliseconds. */
    readonly retryAfter?: number,
    cause?: unknown,
  ) {
    super(message, { cause })
    this.name = 'SluiceError'
  }

  /** Whether the same request may succeed later: no answer, too many requests, or the server's own trouble. */
  get transient(): boolean {
    return this.status >= 500 || [0, 408, 429].includes(this.status)
  }
}

/** What a refusal says. */
export async function readProblem(response: Response): Promise<SluiceError> {
  const problem: Problem | undefined = await response.json().catch(() => undefined)
  return new SluiceError(
    problem?.detail ?? `the server answered with status ${response.status}`,
    response.status,
    problem,
    Number(response.headers.get('Retry-After')) * 1000 || undefined,
  )
}

/** No answer at all, as a SluiceError. */
export const unreachable = (cause: unknown): SluiceError =>
  cause instanceof SluiceError ? cause : new SluiceError('the server could not be reached', 0, undefined, undefined, cause)
