import { expect, test } from '../test.js'

const calls = ['one', 'two', 'three', 'four', 'five', 'six']

test.describe('while the provider is down', () => {
  test.use({ script: { mode: 'down' } })

  test('the page says why jobs wait and until when, and all of them are done afterwards', async ({ dashboard, stage }) => {
    await dashboard.open()
    await stage.enqueueMany(calls)
    await expect(dashboard.breaker('open')).toBeVisible()
    await expect(dashboard.upstream).toContainText(/probe in \d+ s/)
    await dashboard.enqueue('Am I told why I wait?')
    await expect(dashboard.rows()).toHaveCount(calls.length + 1)
    await expect(dashboard.rows().filter({ hasText: 'openai/gpt-5 is not answering' }).first()).toBeVisible()
    await dashboard.rows().getByRole('link').first().click()
    await expect(dashboard.job).toContainText(/openai\/gpt-5 is not answering; the next try is at \d\d:\d\d:\d\d UTC; nothing is lost\./)

    await stage.becomes({ mode: 'healthy' })
    await expect(dashboard.breaker('closed')).toBeVisible()
    await expect(dashboard.job).toContainText(/done/i)
    await expect(dashboard.queue).toContainText(`${calls.length + 1} done`)
    await expect(dashboard.queue).toContainText('0 failed')
  })
})

test.describe('in the demo', () => {
  test.use({ demo: true })

  test('the provider runs out of credit at a click: the page says so, and the jobs go on once there is some', async ({ dashboard, page, stage }) => {
    const provider = page.getByRole('radiogroup', { name: 'Provider' })
    await dashboard.open()
    await expect(provider.getByRole('radio', { name: 'Healthy' })).toBeChecked()
    await provider.getByRole('radio', { name: 'Out of credit' }).click()
    await dashboard.enqueue('hello')
    await expect(dashboard.breaker('open')).toBeVisible()
    await expect(dashboard.upstream).toContainText(/credit/)
    await dashboard.rows().getByRole('link').click()
    await expect(dashboard.job).toContainText('The account at openai/gpt-5 has reached its limit or is out of credit')
    await expect(dashboard.attempts().first()).toContainText('held')

    await provider.getByRole('radio', { name: 'Healthy' }).click()
    await expect(dashboard.job).toContainText(/done/i)
    await expect(dashboard.breaker('closed')).toBeVisible()
    for (const name of ['Rate-limited', 'Down']) {
      await provider.getByRole('radio', { name }).click()
      await expect(provider.getByRole('radio', { name })).toBeChecked() // once the provider has confirmed it
    }
    expect((await stage.script()).mode).toBe('down')
  })
})

test('without a demo the page has no switch', async ({ dashboard, page }) => {
  await dashboard.open()
  await expect(page.getByRole('radiogroup')).toHaveCount(0)
})

test.describe('at a limit', () => {
  test.use({ script: { rpm: 6, tpm: 100_000 } })

  test('the meters show it, and a waiting job tells its place and when it starts', async ({ dashboard, stage }) => {
    await dashboard.open()
    const ids = await stage.enqueueMany(Array.from({ length: 20 }, (_, i) => `job ${i}`))
    const requests = dashboard.upstream.getByRole('meter', { name: 'requests' })
    await expect(requests).toHaveAttribute('aria-valuemax', '6')
    await expect(requests).toHaveAttribute('aria-valuenow', /^[0-6]$/)
    await expect(dashboard.upstream.getByRole('meter', { name: 'tokens' })).toHaveAttribute('aria-valuemax', '100000')
    await expect(dashboard.row(ids.at(-1)!)).toContainText(/openai\/gpt-5 is at its limit of 6 requests per minute; about \d+ jobs are ahead/)
    await dashboard.link(ids.at(-1)!).click()
    await expect(dashboard.job).toContainText(/starts in about \d+ (s|min)/)
  })
})

test('an operator pauses an upstream and resumes it', async ({ dashboard, stage }) => {
  await stage.untilJob(await stage.enqueue('warm up'), 'done')
  await dashboard.open()
  await dashboard.confirm(dashboard.button('Pause', dashboard.upstream))
  await expect(dashboard.breaker('open')).toBeVisible()
  await expect(dashboard.upstream).toContainText(/paused/i)
  const id = await stage.enqueue('hello')
  await expect(dashboard.row(id)).toContainText('An operator paused openai/gpt-5')
  await dashboard.button('Resume', dashboard.upstream).click()
  await expect(dashboard.row(id)).toContainText(/done/i)
  await expect(dashboard.breaker('closed')).toBeVisible()
})
