import { expect, test } from '../test.js'

test.use({ auth: true })

test('a key opens the page, is kept for the tab alone, and a sign-out forgets it', async ({ context, dashboard, page, stage, watch }) => {
  watch.allow(/status of 401/)
  const addresses: string[] = []
  context.on('request', (request) => addresses.push(request.url()))
  await page.goto('/')
  const field = dashboard.signInForm.getByLabel('API key')
  await expect(field).toHaveAttribute('type', 'password')
  await field.fill(`${stage.key.slice(0, -1)}${stage.key.endsWith('a') ? 'b' : 'a'}`)
  await dashboard.button('Sign in', dashboard.signInForm).click()
  await expect(dashboard.signInForm.getByRole('alert')).toBeVisible()
  await expect(dashboard.rows()).toHaveCount(0)

  await field.fill(stage.key)
  await dashboard.button('Sign in', dashboard.signInForm).click()
  await expect(dashboard.signInForm).toBeHidden()
  await dashboard.enqueue('hello')
  await expect(dashboard.queue).toContainText('1 done')
  await page.reload()
  await expect(dashboard.rows()).toHaveCount(1)
  const id = await dashboard.rows().getByRole('link').getAttribute('href')
  await page.goto(`/${id!.slice(id!.indexOf('?'))}`)
  await expect(dashboard.job).toContainText(/done/i)

  const kept = await page.evaluate(() => ({ ...localStorage, cookies: document.cookie }))
  expect(JSON.stringify(kept)).not.toContain(stage.key)
  expect(addresses.filter((address) => address.includes(stage.key) || address.includes(encodeURIComponent(stage.key)))).toEqual([])
  expect(page.url()).not.toContain(stage.key)

  await dashboard.button('Sign out').click()
  await expect(dashboard.signInForm).toBeVisible()
  await expect(dashboard.rows()).toHaveCount(0)
  expect(await page.evaluate(() => JSON.stringify({ ...sessionStorage }))).not.toContain(stage.key)
  await page.reload()
  await expect(dashboard.signInForm).toBeVisible()
})
