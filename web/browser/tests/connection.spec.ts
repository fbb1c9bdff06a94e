import type { BrowserContext, Request } from '@playwright/test'
import { Dashboard } from '../page.js'
import { expect, test } from '../test.js'

const broken = /net::ERR_|EventSource/

/** The streams of the status that are open right now, in all tabs. */
function openStreams(context: BrowserContext): Set<Request> {
  const open = new Set<Request>()
  context.on('request', (request) => {
    if (new URL(request.url()).pathname === '/api/ai/status/events') open.add(request)
  })
  for (const end of ['requestfinished', 'requestfailed'] as const) context.on(end as 'requestfinished', (request) => open.delete(request))
  return open
}

test('offline the page says so, and back it shows what happened meanwhile', async ({ context, dashboard, stage, watch }) => {
  watch.allow(broken)
  await dashboard.open()
  await context.setOffline(true)
  await expect(dashboard.notice.filter({ hasText: /Offline|Reconnecting/ })).toBeVisible()
  const id = await stage.enqueue('hello')
  await stage.untilJob(id, 'done')
  await context.setOffline(false)
  await expect(dashboard.queue).toContainText('1 done')
  await expect(dashboard.link(id)).toBeVisible()
  await expect(dashboard.notice.filter({ hasText: /Offline|Reconnecting/ })).toBeHidden()
})

test('an API that goes away is reached again when it is back, with the job that is open', async ({ dashboard, stage, watch }) => {
  watch.allow(broken)
  await stage.becomes({ mode: 'hang' })
  const id = await stage.enqueue('hello')
  await dashboard.open(`?job=${id}`)
  await expect(dashboard.job).toContainText(/running/i)
  await stage.stopAPI()
  await expect(dashboard.notice.filter({ hasText: /Offline|Reconnecting/ })).toBeVisible()
  await stage.startAPI()
  await dashboard.button('Cancel', dashboard.job).click()
  await expect(dashboard.job).toContainText(/cancelled/i)
  await expect(dashboard.notice.filter({ hasText: /Offline|Reconnecting/ })).toBeHidden()
})

test('two tabs share one stream, both show what changes, and the second goes on without the first', async ({ context, dashboard, page, stage }) => {
  const streams = openStreams(context)
  const shareOne = () => expect.poll(() => streams.size, { message: 'open streams' }).toBe(1) // one may just be followed by the next
  await dashboard.open()
  await expect(dashboard.queue).toContainText('0 done')
  const second = new Dashboard(await context.newPage())
  await second.open()
  await expect(second.queue).toContainText('0 done')
  await shareOne()

  await stage.enqueue('hello')
  await expect(dashboard.queue).toContainText('1 done')
  await expect(second.queue).toContainText('1 done')
  await expect(second.rows()).toHaveCount(1)
  await shareOne()

  await page.close()
  await stage.enqueue('hello again')
  await expect(second.queue).toContainText('2 done')
  await expect(second.rows()).toHaveCount(2)
})

test('updates stop while they are paused', async ({ dashboard, stage }) => {
  await dashboard.open()
  const pause = dashboard.button('Pause updates', dashboard.jobs)
  await pause.click()
  await expect(pause).toHaveAttribute('aria-pressed', 'true')
  const id = await stage.enqueue('hello')
  await stage.untilJob(id, 'done')
  await expect(dashboard.queue).toContainText('1 done') // the news came
  await expect(dashboard.link(id)).toBeHidden()
  await pause.click()
  await expect(dashboard.link(id)).toBeVisible()
})
