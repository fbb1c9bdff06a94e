// @vitest-environment node
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { example, installExample, readJson, run } from './example.js'

describe('the package, as an application gets it', () => {
  let folder: string
  let packed: Awaited<ReturnType<typeof installExample>>

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sluice-example-'))
    packed = await installExample(folder)
  }, 300_000)
  afterAll(() => rm(folder, { recursive: true, force: true }))

  it('has what it needs and no more', () => {
    const paths = packed.files.map(({ path }) => path)
    expect(paths).toEqual(expect.arrayContaining(['README.md', 'CHANGELOG.md', 'dist/index.js', 'dist/client.js', 'dist/styles.css', 'dist/index.d.ts']))
    expect(paths.filter((path) => !/^(dist\/|README|CHANGELOG|package\.json)/.test(path))).toEqual([])
  })

  it('brings nothing along but itself', async () => {
    const { dependencies, peerDependencies } = await readJson(join(folder, 'node_modules/@sluice/react/package.json'))
    expect(dependencies).toBeUndefined()
    expect(peerDependencies).toEqual({ react: '^18 || ^19' })
  })

  it('is for the client as a whole, but for the part without React', async () => {
    const dist = join(folder, 'node_modules/@sluice/react/dist')
    expect(await readFile(join(dist, 'index.js'), 'utf8')).toMatch(/^['"]use client['"];/)
    for (const file of ['client.js', 'core.js']) expect(await readFile(join(dist, file), 'utf8')).not.toMatch(/use client|from ["']react/)
  })

  it('can be imported by a server, with and without React', async () => {
    const script = "const {createSluiceClient} = await import('@sluice/react/client'); createSluiceClient().job('x').getServerSnapshot(); console.log(Object.keys(await import('@sluice/react')).join(' '))"
    expect(await run(folder, 'node', '--input-type=module', '-e', script)).toContain('AiIndicators JobProgress SluiceError SluiceProvider')
  })

  it('builds in an application of less than 60 lines', async () => {
    const main = await readFile(join(folder, 'src/main.tsx'), 'utf8')
    expect(main.split('\n').length).toBeLessThan(60)
    await run(folder, 'npm', 'run', 'build')
    const assets = join(folder, 'dist/assets')
    const built = await Promise.all((await readdir(assets)).map((file) => readFile(join(assets, file), 'utf8')))
    expect(built.join()).toContain('Added to the queue. It starts as soon as there is capacity.')
    expect(built.join()).toContain('--sluice-surface')
  }, 120_000)
})

describe('versions', () => {
  it('are pinned, by a lockfile that names no registry but the public one', async () => {
    const { devDependencies } = await readJson('package.json')
    for (const version of Object.values(devDependencies)) expect(version).toMatch(/^\d+\.\d+\.\d+$/)
    const { packages } = await readJson('package-lock.json')
    const hosts = Object.values<{ resolved?: string }>(packages).flatMap(({ resolved }) => resolved ?? [])
    expect(hosts.filter((host) => !host.startsWith('https://registry.npmjs.org/'))).toEqual([])
  })

  it('are the same in the example', async () => {
    const own = await readJson('package.json')
    const { dependencies, devDependencies } = await readJson(`${example}/package.json`)
    for (const [name, version] of Object.entries({ ...dependencies, ...devDependencies }))
      expect([name, version]).toEqual([name, name === own.name ? own.version : own.devDependencies[name]])
  })
})
