// @vitest-environment node
import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'

const styles = readFileSync('src/styles.css', 'utf8')

const colours = [...styles.matchAll(/--_(\w+): var\(--sluice-\w+, light-dark\((#\w{6}), (#\w{6})\)\)/g)]
const theme = (place: 2 | 3): Record<string, string> => Object.fromEntries(colours.map((found) => [found[1], found[place]!]))
const themes = [theme(2), theme(3)]

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

it('has a light theme and a dark one: by the system, unless a class around decides', () => {
  expect(colours).toHaveLength(8)
  expect(themes[0]).not.toEqual(themes[1])
  const schemes = [...styles.matchAll(/^(\.sluice[^{}\n]*) {[^{}]*color-scheme: ([\w ]+);/gm)].map(([, who, scheme]) => [who!.trim(), scheme])
  expect(schemes).toEqual([
    ['.sluice', 'light dark'],
    [".sluice:is(.light, .light *, [data-theme='light'] *)", 'light'],
    [".sluice:is(.dark, .dark *, [data-theme='dark'] *)", 'dark'],
  ])
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
