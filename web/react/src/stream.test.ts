// @vitest-environment node
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, it } from 'vitest'
import { fakeBody } from '../test/fakes.js'
import { createOpenStream } from './stream.js'

setFlagsFromString('--expose-gc')
const collect: () => void = runInNewContext('gc')

it('a stream that lasts keeps nothing of what it told', async () => {
  const body = fakeBody()
  const { signal } = new AbortController()
  let told = 0
  const over = createOpenStream(async () => body.response({ signal }))({ path: '', lastEventId: '', signal }, { open() {}, event: () => void told++ })
  const heapAfter = async (events: number) => {
    for (let i = 0; i < events; i++) {
      body.tell(i)
      await new Promise(setImmediate)
    }
    collect()
    return process.memoryUsage().heapUsed
  }
  const before = await heapAfter(2000)
  const perEvent = ((await heapAfter(10_000)) - before) / 10_000
  expect(told).toBe(12_000)
  expect(perEvent).toBeLessThan(100) // bytes
  body.end()
  await over
})
