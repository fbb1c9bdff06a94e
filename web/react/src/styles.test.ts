// @vitest-environment node
import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'

const styles = readFileSync('src/styles.css', 'utf8')

/** The themes: each block that sets the surface. */
const themes = [...styles.matchAll(/{([^{}]*--_surface:[^{}]*)}/g)].map(([, block]) =>
  Object.fromEntries([...block!.matchAll(/--_(\w+): var\(--sluice-\w+, (#\w{6})\)/g)].map(([, name, colour]) => [name, colour!])),
)

/** Contrast by WCAG 2. */
function contrast(one: string, other: string): number {
  const luminance = (colour: string) => {
    const [r, g, b] = [1, 3, 5].map((at) => {
      const c = parseInt(colour.slice(at, at + 2), 16) / 255
      return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4
    }) as [number, number, number]
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b) as [number, number]
  return (light + 0.05) / (dark + 0.05)
}

it('has a light theme, and the same dark theme by the system and by a class', () => {
  expect(themes).toHaveLength(3)
  expect(themes[1]).toEqual(themes[2])
  expect(themes[0]).not.toEqual(themes[1])
})

it.each(['text', 'muted', 'green', 'orange', 'red', 'accent'])('has enough contrast: %s', (name) => {
  for (const theme of themes) expect(contrast(theme[name]!, theme.surface!)).toBeGreaterThan(4.5)
})

it('gives each state of the breaker a shape of its own', () => {
  const shapes = [...styles.matchAll(/\[data-breaker='([\w-]+)'\] \.sluice-breaker \.sluice-icon::before \{\s*content: '(.)'/g)]
  expect(shapes.map(([, state]) => state)).toEqual(['closed', 'half-open', 'open'])
  expect(new Set(shapes.map(([, , shape]) => shape)).size).toBe(3)
})

it('moves nothing for those who asked for that', () => {
  expect(styles).toMatch(/prefers-reduced-motion: reduce\) \{\s*\.sluice-bar \{\s*animation: none/)
})
