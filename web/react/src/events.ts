/** One server-sent event. Its name does not matter here: each of our streams has only one kind. */
export interface ServerEvent {
  id: string
  data: string
  /** When it came, by this machine's clock, where that was not just now. */
  at?: number
}

/** Reads a text/event-stream, however it is cut into chunks. */
export function createEventParser(tell: (event: ServerEvent) => void): (chunk: string) => void {
  let rest = ''
  let id = ''
  let data: string[] = []

  const take = (line: string) => {
    const [, name, value = ''] = /^(\w+)(?:: ?(.*))?$/s.exec(line) ?? []
    if (name === 'data') data.push(value)
    if (name === 'id') id = value
  }
  const dispatch = () => {
    if (data.length) tell({ id, data: data.join('\n') })
    data = []
  }

  return (chunk) => {
    // A carriage return at the very end may be half a line's end.
    const lines = (rest + chunk).split(/\r\n|\n|\r(?!$)/)
    rest = lines.pop()!
    for (const line of lines) if (line) take(line)
    else dispatch()
  }
}
