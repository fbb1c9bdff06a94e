import { describe, expect, it } from 'vitest'
import { createEventParser, type ServerEvent } from './events.js'

function parse(...chunks: string[]): ServerEvent[] {
  const events: ServerEvent[] = []
  const feed = createEventParser((event) => events.push(event))
  chunks.forEach(feed)
  return events
}

describe('an event stream', () => {
  it('is read however it is cut', () => {
    const text = ': hello\n\nid: 7\nevent: state\ndata: {"a":1}\n\nid: 8\ndata: x\ndata:  y\n\n'
    const expected = [{ id: '7', data: '{"a":1}' }, { id: '8', data: 'x\n y' }]
    expect(parse(text)).toEqual(expected)
    expect(parse(...text)).toEqual(expected)
  })

  it('may end its lines in any of three ways', () => {
    for (const end of ['\n', '\r\n', '\r']) {
      const text = ['id:1', 'data:one', '', 'data', 'data: two', '', ''].join(end) + 'x'
      const expected = [{ id: '1', data: 'one' }, { id: '1', data: '\ntwo' }]
      expect(parse(text)).toEqual(expected)
      expect(parse(...text)).toEqual(expected)
    }
  })

  it('keeps what only JavaScript takes for the end of a line', () => {
    expect(parse('data: {"a":"x\u2028y\u2029"}\n\n')).toEqual([{ id: '', data: '{"a":"x\u2028y\u2029"}' }])
  })

  it('tells nothing of an event that did not end, of comments, and of fields that nobody knows', () => {
    expect(parse(':\n\nretry: 5\nfoo: bar\n\ndata: half\n')).toEqual([])
  })
})
