import { expect, it } from 'vitest'
import { readDraft } from './draft.js'

const form = (fields: Record<string, string>) => {
  const data = new FormData()
  for (const [name, value] of Object.entries({ type: 'diary.entry', prompt: 'Hello', priority: '', delay: '', ...fields })) data.set(name, value)
  return data
}

it('leaves to the type what the form does not say', () => {
  expect(readDraft(form({}))).toEqual({ body: { type: 'diary.entry', payload: { input: 'Hello' } } })
  expect(readDraft(form({ priority: '1', delay: '1.5' }))).toEqual({
    body: { type: 'diary.entry', payload: { input: 'Hello' }, priority: 1, delay_ms: 1500 },
  })
})

it('takes a whole payload as JSON, if it is an object', () => {
  expect(readDraft(form({ raw: 'on', prompt: '{"messages":[]}' }))).toEqual({ body: { type: 'diary.entry', payload: { messages: [] } } })
  for (const prompt of ['[1]', 'null', '"x"', '{', '']) expect(readDraft(form({ raw: 'on', prompt }))).toHaveProperty('fault')
})
