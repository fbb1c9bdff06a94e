import { act, fireEvent, screen } from '@testing-library/react'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import { done, failed, job, jobId, queued, running, waiting } from '../test/factories.js'
import { forgetStreams, goOffline, json, latestStream, openStreams, pass, problem, streams } from '../test/fakes.js'
import { renderWithSluice, tell, violations, wait } from '../test/render.js'
import { JobProgress, useAiJob } from './index.js'

const jobUrl = `/api/ai/jobs/${jobId}`

beforeEach(forgetStreams)

const panel = () => screen.getByRole('region', { name: 'AI job' })
const said = () => screen.getByRole('status').textContent

describe('a job that waits', () => {
  it('shows why, where it stands and when it starts', async () => {
    renderWithSluice(<JobProgress id={jobId} />)
    expect(panel().dataset.state).toBe('loading')
    await tell(queued({ eta_seconds: 120 }))
    expect(panel().dataset).toMatchObject({ state: 'queued', reason: 'queue', connection: 'open' })
    expect(panel().textContent).toContain('11 jobs are ahead in the line for openai/gpt-5.')
    expect(panel().textContent).toContain('About number 12 in line')
    expect(panel().textContent).toContain('1-3 min')
    await tell(queued({ position: 1, sentence: 'The job is next in line for openai/gpt-5.' }))
    expect(panel().textContent).toContain('Next in line')
    expect(panel().textContent).not.toContain('min')
    await tell(queued({ position: 1001 }))
    expect(panel().textContent).not.toContain('More than')
  })

  it('never sees its place go up, in no words', async () => {
    renderWithSluice(<JobProgress id={jobId} />)
    await tell(queued({ position: 5, sentence: '4 jobs are ahead.' }))
    await tell(queued({ position: 9, sentence: '8 jobs are ahead.' }))
    expect(panel().textContent).toContain('About number 5 in line')
    expect(panel().textContent).toContain('More urgent jobs came in front')
    expect(panel().textContent).not.toContain('8')
    await tell(queued({ position: 3, sentence: '2 jobs are ahead.' }))
    expect(panel().textContent).toContain('About number 3 in line')
    expect(panel().textContent).toContain('2 jobs are ahead.')
  })

  it('counts down to the next try while the breaker is open, and tells no time of its own start', async () => {
    renderWithSluice(<JobProgress id={jobId} />)
    await tell(queued({ reason: 'breaker', sentence: 'openai/gpt-5 is not answering.', position: 1, eta_seconds: 75 }))
    const countdown = () => screen.queryByText(/Next try in/)
    expect(countdown()!.textContent).toBe('Next try in 1:15')
    expect(countdown()!.getAttribute('aria-hidden')).toBe('true')
    expect(panel().textContent).not.toContain('min')
    await wait(16_000)
    expect(countdown()!.textContent).toBe('Next try in 0:59')
    await wait(59_000)
    expect(countdown()).toBeNull()
  })
})

describe('a job that is under way or has ended', () => {
  it('shows its result', async () => {
    renderWithSluice(<JobProgress id={jobId} />)
    await tell(running())
    expect(panel().dataset.state).toBe('running')
    expect(panel().textContent).toContain('Working on it')
    await tell(done())
    expect(panel().textContent).toContain('A good week.')
    expect(screen.queryByRole('button')).toBeNull()
  })

  it('shows why it failed, and is tried again by a button', async () => {
    const { server } = renderWithSluice(<JobProgress id={jobId} />)
    await tell(failed())
    expect(panel().textContent).toContain('the provider refused the call')
    server.on(`POST ${jobUrl}/retry`, json(queued()))
    fireEvent.click(screen.getByRole('button', { name: 'Try again' }))
    await wait()
    expect(panel().dataset.state).toBe('queued')
    expect(openStreams()).toHaveLength(1)
    await tell(done())
    expect(panel().dataset.state).toBe('done')
  })

  it('is cancelled by a button, once', async () => {
    const { server } = renderWithSluice(<JobProgress id={jobId} />)
    await tell(running())
    let answer!: (response: Response) => void
    server.on(`POST ${jobUrl}/cancel`, () => new Promise((resolve) => (answer = resolve)))
    const button = screen.getByRole('button', { name: 'Cancel' })
    fireEvent.click(button)
    await wait()
    expect(button.getAttribute('aria-disabled')).toBe('true')
    fireEvent.click(button)
    await wait()
    expect(server.to(`POST ${jobUrl}/cancel`)).toHaveLength(1)
    await act(async () => answer(json(job({ state: 'cancelled' }))))
    await wait()
    expect(panel().dataset.state).toBe('cancelled')
    expect(screen.getByRole('button', { name: 'Try again' })).toBe(button)
    expect(openStreams()).toHaveLength(0)
  })

  it('says so where it can no longer be cancelled', async () => {
    const { server } = renderWithSluice(<JobProgress id={jobId} />)
    await tell(running())
    server.on(`POST ${jobUrl}/cancel`, problem(409, 'a job that is done cannot be cancelled'))
    fireEvent.click(screen.getByRole('button', { name: 'Cancel' }))
    await wait()
    expect(panel().textContent).toContain('a job that is done cannot be cancelled')
  })
})

describe('a job of which there is no news', () => {
  it('says that there is none such', async () => {
    const { server } = renderWithSluice(<JobProgress id={jobId} />)
    server.on(`GET ${jobUrl}`, problem(404, 'there is no such job'))
    await act(() => latestStream().refuse())
    await wait()
    expect(panel().dataset.connection).toBe('failed')
    expect(panel().textContent).toContain('there is no such job')
  })

  it('keeps what is known while the network is gone', async () => {
    renderWithSluice(<JobProgress id={jobId} />)
    await tell(running())
    await act(async () => goOffline())
    await wait()
    expect(panel().textContent).toContain('You are offline.')
    expect(panel().textContent).toContain('Working on it')
  })
})

describe('announcements', () => {
  it('have a region that is there first, and tell milestones at most every ten seconds', async () => {
    renderWithSluice(<JobProgress id={jobId} />)
    const region = screen.getByRole('status')
    expect(said()).toBe('')
    await tell(queued({ position: 12 }))
    expect(said()).toBe('')
    await wait(100)
    expect(said()).toBe('Waiting. 11 jobs are ahead in the line for openai/gpt-5.')
    await tell(queued({ position: 11, sentence: '10 jobs are ahead.' }))
    await wait(20_000)
    expect(said()).toContain('11 jobs')
    await tell(queued({ position: 7, sentence: '6 jobs are ahead.' }))
    await wait(100)
    expect(said()).toBe('Waiting. 6 jobs are ahead.')
    await tell(running())
    await wait(5000)
    await tell(done())
    await wait(4000)
    expect(said()).toContain('6 jobs')
    await wait(1000)
    expect(said()).toBe('Done')
    expect(screen.getByRole('status')).toBe(region)
  })
})

describe('an application', () => {
  it('may use its own words', async () => {
    renderWithSluice(<JobProgress id={jobId} />, { cancel: 'Abbrechen', sentence: ({ reason }) => `Grund: ${reason}` })
    await tell(queued())
    expect(screen.getByRole('button', { name: 'Abbrechen' })).toBeTruthy()
    expect(panel().textContent).toContain('Grund: queue')
    expect(panel().textContent).toContain('Waiting')
  })

  it('may use its own markup', async () => {
    renderWithSluice(<JobProgress id={jobId}>{({ state, position }) => <b>{`${state} at ${position}`}</b>}</JobProgress>)
    await tell(queued())
    expect(screen.getByText('queued at 12')).toBeTruthy()
    expect(screen.queryByRole('region')).toBeNull()
  })

  it('shows nothing without a job', () => {
    const { container } = renderWithSluice(<JobProgress id={null} />)
    expect(container.innerHTML).toBe('')
    expect(streams()).toHaveLength(0)
  })
})

describe('accessibility', () => {
  it.each([
    ['queued', queued({ eta_seconds: 120 })],
    ['delayed', job({ state: 'delayed', waiting: waiting({ reason: 'backoff', eta_seconds: 30, position: null }) })],
    ['running', running()],
    ['done', done()],
    ['failed', failed()],
  ])('has no violation while %s', async (_, data) => {
    const { container } = renderWithSluice(<JobProgress id={jobId} />)
    await tell(data)
    await wait(100)
    vi.useRealTimers()
    expect(await violations(container)).toEqual([])
  })
})

describe('useAiJob', () => {
  it('shares one connection among components, in StrictMode too, and ends it with the last', async () => {
    const { unmount } = renderWithSluice(<><JobProgress id={jobId} /><JobProgress id={jobId} /></>)
    expect(streams()).toHaveLength(1)
    await tell(running())
    expect(screen.getAllByText('Working on it')).toHaveLength(2)
    unmount()
    await wait(1000)
    expect(openStreams()).toHaveLength(0)
    expect(vi.getTimerCount()).toBe(0)
  })

  it('updates nothing after it is gone', async () => {
    const complaint = vi.spyOn(console, 'error')
    const renders = vi.fn()
    const { server, unmount } = renderWithSluice(<JobProgress id={jobId}>{(job) => {
      renders()
      return <button onClick={job.cancel}>x</button>
    }}</JobProgress>)
    await tell(running())
    let answer!: (response: Response) => void
    server.on(`POST ${jobUrl}/cancel`, () => new Promise((resolve) => (answer = resolve)))
    fireEvent.click(screen.getByRole('button'))
    await wait()
    unmount()
    const before = renders.mock.calls.length
    answer(json(job({ state: 'cancelled' })))
    await pass(5000)
    expect(renders).toHaveBeenCalledTimes(before)
    expect(complaint).not.toHaveBeenCalled()
  })

  it('follows another job when the id changes', async () => {
    const other = jobId.replace('0', 'f')
    const { rerender } = renderWithSluice(<JobProgress id={jobId} />)
    await tell(running())
    rerender(<JobProgress id={other} />)
    expect(panel().dataset.state).toBe('loading')
    await wait(1000)
    expect(openStreams().map(({ url }) => url)).toEqual([`/api/ai/jobs/${other}/events`])
  })

  it('tells each change of state once', async () => {
    const change = vi.fn()
    renderWithSluice(<JobProgress id={jobId} onStateChange={change} />)
    await tell(queued())
    await tell(queued({ position: 3 }))
    await tell(done())
    expect(change.mock.calls.map(([state, { id }, before]) => [state, id, before])).toEqual([
      ['queued', jobId, undefined],
      ['done', jobId, 'queued'],
    ])
  })

  it('survives a reload', async () => {
    const { unmount } = renderWithSluice(<JobProgress id={jobId} persist="summary" />)
    await tell(queued())
    unmount()
    await wait(1000)
    const change = vi.fn()
    renderWithSluice(<JobProgress id={null} persist="summary" onStateChange={change} />)
    await tell(done())
    expect(panel().textContent).toContain('A good week.')
    expect(change).toHaveBeenCalledWith('done', expect.anything(), undefined)
  })

  it('forgets a job that is gone, and one that it is told to forget', async () => {
    sessionStorage.setItem('summary', jobId)
    const { server, container, unmount } = renderWithSluice(<JobProgress id={undefined} persist="summary" />)
    server.on(`GET ${jobUrl}`, problem(404, 'there is no such job'))
    await act(() => latestStream().refuse())
    await wait()
    expect(container.innerHTML).toBe('')
    expect(sessionStorage.getItem('summary')).toBeNull()
    unmount()

    sessionStorage.setItem('summary', jobId)
    renderWithSluice(<Forgettable />)
    await tell(queued())
    fireEvent.click(screen.getByRole('button', { name: jobId }))
    expect(screen.getByRole('button', { name: 'nothing' })).toBeTruthy()
    expect(sessionStorage.getItem('summary')).toBeNull()
  })

  it('works where storage is forbidden', async () => {
    vi.spyOn(Storage.prototype, 'getItem').mockImplementation(() => { throw new Error('denied') })
    renderWithSluice(<JobProgress id={jobId} persist="summary" />)
    await tell(running())
    expect(panel().dataset.state).toBe('running')
  })
})

function Forgettable() {
  const { id, forget } = useAiJob(null, { persist: 'summary' })
  return <button onClick={forget}>{id ?? 'nothing'}</button>
}
