import { expect, test } from '../test.js'

test('a job is enqueued, done and read, and a reload loses nothing', async ({ dashboard, page }) => {
  await dashboard.open()
  await expect(page).toHaveTitle(/^Sluice/)
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Sluice')
  await dashboard.enqueue('Why is the canal so quiet?')
  await expect(dashboard.notice.filter({ hasText: /It starts now\.|Added to the queue\. It starts as soon as there is capacity\./ })).toBeVisible()
  await expect(dashboard.queue).toContainText('1 done')
  await dashboard.rows().getByRole('link').click()

  await expect(page).toHaveURL(/[?&]job=[0-9a-f-]{36}/)
  const shown = async () => {
    await expect(dashboard.job).toContainText(/done/i)
    await expect(dashboard.attempts()).toHaveCount(1)
    await expect(dashboard.tries('ok')).toHaveCount(1)
    await expect(dashboard.attempts()).toContainText('200')
    await expect(dashboard.job.getByRole('group', { name: 'Result' })).not.toBeEmpty()
    await expect(dashboard.button('Cancel', dashboard.job)).toBeHidden()
    await expect(dashboard.button('Retry', dashboard.job)).toBeHidden()
  }
  await shown()
  await page.reload()
  await shown()
  await dashboard.job.getByText('Payload', { exact: true }).click()
  await expect(dashboard.job).toContainText('"input": "Why is the canal so quiet?"')
  await dashboard.button('Close', dashboard.job).click()
  await expect(dashboard.job).toBeHidden()
  await expect(page).not.toHaveURL(/job=/)
})

test('a whole payload is enqueued with a priority and a delay, and a bad one is refused in words', async ({ dashboard, stage, watch }) => {
  watch.allow(/status of 4\d\d/)
  await dashboard.open()
  const form = dashboard.enqueueForm
  await form.getByLabel('Type', { exact: true }).selectOption('kb.ingest')
  await form.getByLabel('Raw JSON').check()
  await form.getByLabel('Prompt', { exact: true }).fill('{"input": "later", "messages": []}')
  await form.getByLabel('Priority', { exact: true }).fill('2')
  await form.getByLabel('Delay', { exact: true }).fill('3600')
  await dashboard.button('Enqueue', form).click()
  await expect(form.getByRole('alert')).toContainText(/messages|input/)

  await form.getByLabel('Prompt', { exact: true }).fill('{"input": "later", "userId": 7}')
  await dashboard.button('Enqueue', form).click()
  await expect(dashboard.queue).toContainText('1 delayed')
  const href = await dashboard.rows().getByRole('link').getAttribute('href')
  const job = await stage.job(new URLSearchParams(href!.split('?')[1]).get('job')!)
  expect(job).toMatchObject({ type: 'kb.ingest', state: 'delayed', priority: 2, payload: { input: 'later', userId: 7 } })
  await expect(dashboard.rows()).toContainText('The job was asked to start')
})

test.describe('while a call hangs', () => {
  test.use({ script: { mode: 'hang' } })

  test('its job is cancelled, and retried with success', async ({ dashboard, stage }) => {
    const id = await stage.enqueue('hello')
    await dashboard.open(`?job=${id}`)
    await expect(dashboard.job).toContainText(/running/i)
    await expect(dashboard.queue).toContainText('1 running')
    await dashboard.button('Cancel', dashboard.job).click()
    await expect(dashboard.job).toContainText(/cancelled/i)
    await expect(dashboard.button('Cancel', dashboard.job)).toBeHidden()
    await stage.untilOutcomes(id, ['cancelled'])

    await stage.becomes({ mode: 'healthy' })
    await dashboard.button('Retry', dashboard.job).click()
    await expect(dashboard.job).toContainText(/done/i)
    await expect(dashboard.attempts()).toHaveCount(2)
    await expect(dashboard.tries('cancelled')).toHaveCount(1)
    await expect(dashboard.tries('ok')).toHaveCount(1)
    await expect(dashboard.button('Retry', dashboard.job)).toBeHidden()
  })
})

test('the tabs filter by state, in the URL: a reload and the back button keep it', async ({ dashboard, page, stage }) => {
  const bad = await stage.enqueue('[[sim:400]]')
  const good = await stage.enqueue('hello')
  await stage.untilJob(bad, 'failed')
  await stage.untilJob(good, 'done')
  await dashboard.open()
  await expect(dashboard.rows()).toHaveCount(2)

  await dashboard.tab('Failed').click()
  await expect(page).toHaveURL(/[?&]state=failed/)
  await expect(dashboard.rows()).toHaveCount(1)
  await expect(dashboard.link(bad)).toBeVisible()
  await page.reload()
  await expect(dashboard.link(bad)).toBeVisible()
  await expect(dashboard.rows()).toHaveCount(1)

  await dashboard.link(bad).click()
  await expect(dashboard.attempts()).toContainText('rejected')
  await expect(dashboard.attempts()).toContainText('400')
  await page.goBack()
  await expect(dashboard.job).toBeHidden()
  await expect(page).toHaveURL(/[?&]state=failed/)
  await page.goBack()
  await expect(dashboard.rows()).toHaveCount(2)
  await dashboard.tab('Done').click()
  await expect(dashboard.link(good)).toBeVisible()
  await expect(dashboard.link(bad)).toBeHidden()
})

test('pages of the list go back in time and forward again', async ({ dashboard, stage }) => {
  const ids = await stage.enqueueMany(Array.from({ length: 120 }, (_, i) => `job ${i}`))
  const oldest = ids[0]!
  const newest = ids.at(-1)!
  await stage.untilJob(oldest, 'done')
  await dashboard.open()
  await expect(dashboard.link(newest)).toBeVisible()
  const older = dashboard.jobs.getByRole('link', { name: 'Older' }).or(dashboard.button('Older', dashboard.jobs))
  const newer = dashboard.jobs.getByRole('link', { name: 'Newer' }).or(dashboard.button('Newer', dashboard.jobs))
  await older.click()
  await expect(dashboard.link(newest)).toBeHidden()
  await expect(dashboard.rows().first()).toBeVisible()
  await newer.click()
  await expect(dashboard.link(newest)).toBeVisible()
})

test('all of it can be done by keyboard', async ({ dashboard, page, stage }) => {
  const id = await stage.enqueue('[[sim:400]]')
  await stage.untilJob(id, 'failed')
  await dashboard.open()
  await expect(dashboard.link(id)).toBeVisible()
  const reach = async (what: ReturnType<typeof dashboard.link>) => {
    for (let i = 0; i < 60; i++) {
      if (await what.evaluate((element) => element === document.activeElement)) return
      await page.keyboard.press('Tab')
    }
    throw new Error(`Tab does not reach ${what}`)
  }
  await reach(dashboard.link(id))
  await page.keyboard.press('Enter')
  await expect(dashboard.job).toContainText(/failed/i)
  await stage.becomes({ mode: 'hang' }) // the directive in the input decides only while the provider is healthy
  await reach(dashboard.button('Retry', dashboard.job))
  await page.keyboard.press('Enter')
  await expect(dashboard.job).toContainText(/running/i)
})
