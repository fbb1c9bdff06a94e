import type { EnqueueRequest } from '@sluice/react'

/** Makes a request of what the form holds, or says what is wrong with it. All else the server knows better. */
export function readDraft(form: FormData): { body: EnqueueRequest } | { fault: string } {
  const field = (name: string) => String(form.get(name) ?? '')
  const payload = form.get('raw') ? readObject(field('prompt')) : { input: field('prompt') }
  if (!payload) return { fault: 'The prompt must be a JSON object.' }
  const body: EnqueueRequest = { type: field('type'), payload }
  if (field('priority')) body.priority = Number(field('priority'))
  if (Number(field('delay'))) body.delay_ms = Number(field('delay')) * 1000
  return { body }
}

function readObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}
