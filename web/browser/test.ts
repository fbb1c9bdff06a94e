import { test as base, expect, type BrowserContext } from '@playwright/test'
import { Dashboard } from './page.js'
import { Stage, type Script } from './stage.js'

export { expect }

/** Listens in all tabs for what must never happen. */
class Watch {
  readonly complaints: string[] = []
  private readonly allowed: RegExp[] = []

  constructor(context: BrowserContext, private readonly stage: Stage) {
    context.on('console', (message) => {
      if (message.type() === 'error' || message.type() === 'warning') this.complain(`console: ${message.text()}`)
    })
    context.on('weberror', (error) => this.complain(`uncaught: ${error.error()}`))
    context.on('request', (request) => this.look(new URL(request.url())))
  }

  /** Lets pass what a test brings about on purpose. */
  allow = (complaint: RegExp) => this.allowed.push(complaint)

  private look({ origin, protocol, pathname, href }: URL): void {
    const control = origin === this.stage.provider && pathname.startsWith('/control')
    if (origin !== this.stage.api && !control && protocol !== 'data:') this.complain(`a request to ${href}`)
  }

  private complain(complaint: string): void {
    if (!this.allowed.some((allowed) => allowed.test(complaint))) this.complaints.push(complaint)
  }
}

interface Options {
  /** Whether keys are asked for. */
  auth: boolean
  /** Whether the page gets the demo's switch of the provider. */
  demo: boolean
  script: Script
}

interface Fixtures {
  stage: Stage
  watch: Watch
  dashboard: Dashboard
}

/** A test on a stage of its own, which also fails if the page does what it must never do. */
export const test = base.extend<Options & Fixtures>({
  auth: [false, { option: true }],
  demo: [false, { option: true }],
  script: [{}, { option: true }],
  stage: async ({ auth, demo, script }, use) => {
    const stage = await Stage.set({ auth, demo, script })
    await use(stage)
    await stage.strike()
  },
  baseURL: ({ stage }, use) => use(stage.api),
  watch: [async ({ context, stage }, use) => {
    const watch = new Watch(context, stage)
    await context.addInitScript(() => addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) =>
      console.error(`a violation of the content security policy: ${violatedDirective}, ${blockedURI}`)))
    await use(watch)
    expect(watch.complaints, 'what the page must never do').toEqual([])
  }, { auto: true }],
  dashboard: ({ page }, use) => use(new Dashboard(page)),
})
