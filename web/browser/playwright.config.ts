import { defineConfig } from '@playwright/test'

const patience = 60_000 // bounds every wait for an event; it is no measure of speed

export default defineConfig({
  testDir: 'tests',
  fullyParallel: true,
  workers: 2,
  forbidOnly: !!process.env.CI,
  timeout: 5 * patience, // several such waits, and the stage before them
  expect: { timeout: patience },
  reporter: process.env.GITHUB_ACTIONS ? [['list'], ['github']] : 'list',
  use: {
    actionTimeout: patience,
    navigationTimeout: patience,
    locale: 'en-GB',
    timezoneId: 'UTC',
    screenshot: 'only-on-failure',
    launchOptions: {
      timeout: 2 * patience,
      executablePath: process.env.CHROMIUM,
      chromiumSandbox: process.getuid?.() !== 0, // Chromium's own sandbox refuses root
    },
  },
})
