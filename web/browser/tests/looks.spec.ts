import { mkdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { expectGood, lookAt, looks } from '../looks.js'
import { expect, test } from '../test.js'
import type { Stage } from '../stage.js'

/** A provider that goes down, as it would on a bad day; returns a job that had several tries before. */
async function badDay(stage: Stage): Promise<string> {
  for (const id of await stage.enqueueMany(['Summarise the minutes of Monday', 'List three facts about canals', 'One sentence about rain'])) {
    await stage.untilJob(id, 'done')
  }
  await stage.untilJob(await stage.enqueue('This one asks for too much [[sim:400]]'), 'failed')
  await stage.becomes({ mode: 'rate_limited' })
  const eventful = await stage.enqueue('What should the lock keeper look at next?')
  await expect.poll(async () => (await stage.attempts(eventful))[0]?.outcome).toBe('rate_limited')
  await stage.becomes({ mode: 'down' })
  await expect.poll(async () => (await stage.attempts(eventful)).map(({ outcome }) => outcome)).toContain('error')
  await stage.enqueueMany(['A diary entry about a quiet day at the lock', 'Is anything left to do?', 'Translate the safety notice',
    'Sort the letters by urgency', 'Draft an answer to the harbour master'])
  await stage.enqueue('Wake up the night shift', { delay_ms: 3_600_000 })
  await stage.untilBreaker('open')
  return eventful
}

test.describe('on a bad day', () => {
  test.use({ script: { rpm: 500, tpm: 200_000 } })

  test('axe finds nothing, nothing sticks out, and it is worth a picture', async ({ dashboard, page, stage }, info) => {
    const folder = process.env.SLUICE_TEST_SCREENSHOTS || info.outputPath()
    await mkdir(folder, { recursive: true })
    await dashboard.open(`?job=${await badDay(stage)}`)
    await expect(dashboard.attempts().first()).toBeVisible()
    for (const [name, look] of Object.entries(looks)) {
      await lookAt(page, look)
      await expect(dashboard.upstream).toContainText(/probe in \d+ s/)
      const picture = join(folder, `${name}.png`)
      await page.screenshot({ path: picture, fullPage: true })
      expect((await stat(picture)).size).toBeGreaterThan(10_000)
      await expectGood(page, name)
      const why = await dashboard.rows().first().getByRole('cell').nth(2).boundingBox()
      expect.soft(why!.width, `room for why a job waits, ${name}`).toBeGreaterThan(200)
    }
  })
})

test('axe finds nothing with an empty queue', async ({ dashboard, page }) => {
  await dashboard.open()
  await expect(dashboard.queue).toContainText('0 queued')
  for (const [name, look] of Object.entries(looks)) {
    await lookAt(page, look)
    await expectGood(page, name)
  }
})

test.describe('in the demo', () => {
  test.use({ demo: true })

  test('axe finds nothing with a result, an open payload and the switch of the provider', async ({ dashboard, page, stage }) => {
    const id = await stage.enqueue('hello')
    await stage.untilJob(id, 'done')
    await dashboard.open(`?job=${id}`)
    await dashboard.job.getByText('Payload', { exact: true }).click()
    await expect(dashboard.job).toContainText('"input": "hello"')
    await expect(page.getByRole('radio', { name: 'Healthy' })).toBeChecked()
    for (const [name, look] of Object.entries(looks)) {
      await lookAt(page, look)
      await expectGood(page, name)
    }
  })
})

test.describe('before the sign-in', () => {
  test.use({ auth: true })

  test('axe finds nothing', async ({ dashboard, page, watch }) => {
    watch.allow(/status of 401/)
    await page.goto('/')
    await expect(dashboard.signInForm).toBeVisible()
    for (const [name, look] of Object.entries(looks)) {
      await lookAt(page, look)
      await expectGood(page, name)
    }
  })
})

test('the policy lets nothing in from elsewhere, and no page frames this one', async ({ page }) => {
  const policy = (await page.goto('/'))?.headers()['content-security-policy'] ?? ''
  const directives = Object.fromEntries(policy.split(';').map((directive) => directive.trim().split(/ (.*)/)))
  expect(directives).toMatchObject({
    'default-src': "'none'", 'script-src': "'self'", 'style-src': "'self'", 'img-src': "'self' data:",
    'base-uri': "'none'", 'frame-ancestors': "'none'", 'form-action': "'self'",
  })
  expect(directives['connect-src']?.split(' ')).toContain("'self'")
  expect(policy).not.toMatch(/unsafe|https?:|\*/)
})
