import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { installExample, run } from '../../react/test/example.js'
import { expect, test as base } from '../test.js'

const react = fileURLToPath(new URL('../../react', import.meta.url))
const buildTime = 300_000

/** The example as it is built, with the package as it is published. */
const test = base.extend<object, { built: string }>({
  built: [async ({}, use) => {
    if (!existsSync(join(react, 'node_modules'))) await run(react, 'npm', 'ci')
    const folder = await mkdtemp(join(tmpdir(), 'sluice-example-'))
    await installExample(folder)
    await run(folder, 'npm', 'run', 'build', '--', '--base=/example/')
    await use(join(folder, 'dist'))
    await rm(folder, { recursive: true })
  }, { scope: 'worker', timeout: buildTime }],
})

test.use({ script: { mode: 'out_of_credit' } })

test('the example of @sluice/react follows a job of the real API through a wait and a reload', async ({ built, context, page, stage }) => {
  await context.route('**/example/**', (route) => {
    const file = new URL(route.request().url()).pathname.replace('/example/', '') || 'index.html'
    return route.fulfill({ path: join(built, file) })
  })
  await stage.enqueue('the one that finds out')
  await stage.untilBreaker('open')
  await page.goto('/example/')
  await expect(page.getByRole('region', { name: 'AI status' })).toContainText('AI paused; jobs wait')
  await page.getByLabel('Dear diary').fill('A quiet day at the lock')
  await page.getByRole('button', { name: 'Sum it up' }).click()
  await expect(page.getByRole('status').filter({ hasText: 'Added to the queue. It starts as soon as there is capacity.' })).toBeVisible()
  const job = page.getByRole('region', { name: 'AI job' })
  await expect(job).toContainText('The account at openai/gpt-5 has reached its limit or is out of credit')

  await page.reload()
  await expect(job).toContainText('The account at openai/gpt-5 has reached its limit or is out of credit')
  await stage.becomes({ mode: 'healthy' })
  await expect(job).toContainText('Done')
  await expect(page.getByRole('region', { name: 'AI status' })).toContainText('AI available')
})
