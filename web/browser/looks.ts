import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { expect, type Page } from '@playwright/test'
import type axe from 'axe-core'

const source = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

export interface Look {
  colorScheme: 'light' | 'dark'
  width: number
  height: number
}

/** How the page is looked at: light and dark, wide and on a phone. */
export const looks: Record<string, Look> = {
  'wide-light': { colorScheme: 'light', width: 1280, height: 900 },
  'wide-dark': { colorScheme: 'dark', width: 1280, height: 900 },
  'phone-light': { colorScheme: 'light', width: 390, height: 844 },
  'phone-dark': { colorScheme: 'dark', width: 390, height: 844 },
}

export async function lookAt(page: Page, { colorScheme, width, height }: Look): Promise<void> {
  await page.setViewportSize({ width, height })
  await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' }) // no colour is looked at on its way to another
}

/** Expects that axe finds nothing wrong with the page as it is, and that it does not scroll sideways. */
export async function expectGood(page: Page, look: string): Promise<void> {
  await page.evaluate(source) // the page's own policy would not let it in as a script
  const { violations } = await page.evaluate(() => (window as unknown as { axe: typeof axe }).axe.run(document, { preload: false }))
  const found = violations.map(({ id, nodes }) => [id, ...nodes.map(({ html, failureSummary }) => `${html}: ${failureSummary}`)])
  expect.soft(found, `what axe finds, ${look}`).toEqual([])
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)
  expect.soft(overflow, `pixels to scroll sideways, ${look}`).toBe(0)
}
