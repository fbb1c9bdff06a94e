import { cleanup } from '@testing-library/react'
import { afterEach, beforeEach, vi } from 'vitest'

// Time and chance belong to the tests.
beforeEach(() => {
  if (typeof window === 'undefined') return
  vi.useFakeTimers({ now: new Date('2026-11-26T10:00:00Z') })
  vi.spyOn(Math, 'random').mockReturnValue(0.5)
  sessionStorage.clear()
})
afterEach(() => {
  if (typeof window === 'undefined') return
  cleanup()
  vi.useRealTimers()
})
