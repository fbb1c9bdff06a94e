import type { Locator, Page } from '@playwright/test'
import { upstream } from './stage.js'

/** The page as people and screen readers find their way in it: by roles and names alone. */
export class Dashboard {
  readonly queue: Locator
  readonly upstreams: Locator
  readonly upstream: Locator
  readonly jobs: Locator
  readonly job: Locator
  readonly enqueueForm: Locator
  readonly signInForm: Locator
  readonly notice: Locator

  constructor(readonly page: Page) {
    const region = (name: string) => page.getByRole('region', { name, exact: true })
    this.queue = region('Queue')
    this.upstreams = region('Upstreams')
    this.upstream = this.upstreams.getByRole('article', { name: upstream })
    this.jobs = region('Jobs')
    this.job = region('Job')
    this.enqueueForm = page.getByRole('form', { name: 'Enqueue' })
    this.signInForm = page.getByRole('form', { name: 'Sign in' })
    this.notice = page.getByRole('status')
  }

  /** Opens the page, with a query such as `?state=failed`, and waits until it shows the queue. */
  async open(query = ''): Promise<void> {
    await this.page.goto(`/${query}`)
    await this.queue.waitFor()
  }

  button = (name: string, within: Locator | Page = this.page) => within.getByRole('button', { name, exact: true })

  /** The state of the upstream's breaker: there while it is that. */
  breaker = (state: 'closed' | 'open' | 'half-open') => this.upstream.getByText(state, { exact: true })

  /** A tab of the list of jobs, a link or a button. */
  tab = (name: string) =>
    this.jobs.getByRole('link', { name, exact: true }).or(this.jobs.getByRole('button', { name, exact: true })).or(
      this.jobs.getByRole('tab', { name, exact: true }))

  /** Links to jobs in the list. */
  rows = () => this.jobs.getByRole('row').filter({ has: this.page.getByRole('link') })

  /** The link to a job in the list. */
  link = (id: string) => this.jobs.locator(`a[href*="job=${id}"]`)

  row = (id: string) => this.jobs.getByRole('row').filter({ has: this.page.locator(`a[href*="job=${id}"]`) })

  attempts = () => this.job.getByRole('list', { name: 'Attempts' }).getByRole('listitem')

  /** The tries that ended so. */
  tries = (outcome: string) => this.attempts().filter({ has: this.page.getByText(outcome, { exact: true }) })

  async enqueue(prompt: string): Promise<void> {
    await this.enqueueForm.getByLabel('Prompt', { exact: true }).fill(prompt)
    await this.button('Enqueue', this.enqueueForm).click()
  }

  /** Presses a button that asks whether it is meant, and says yes. */
  async confirm(button: Locator): Promise<void> {
    this.page.once('dialog', (dialog) => dialog.accept())
    await button.click()
  }
}
