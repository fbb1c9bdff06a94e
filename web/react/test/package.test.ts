// @vitest-environment node
import { execFile } from 'node:child_process'
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const example = '../../examples/react'
const readJson = async (path: string) => JSON.parse(await readFile(path, 'utf8'))

const { NODE_ENV: _, ...env } = process.env // a user's shell has none

const run = async (folder: string, command: string, ...args: string[]): Promise<string> =>
  (await promisify(execFile)(command, args, { cwd: folder, env })).stdout

/**
 * What `npm install ./sluice-react.tgz` would write, with the versions of our own lockfile: npm has all of those in its
 * cache, so that no network is needed.
 */
async function pinExample(folder: string, tarball: string): Promise<void> {
  const own = await readJson('package.json')
  const app = await readJson(`${example}/package.json`)
  const lock = await readJson('package-lock.json')
  app.dependencies[own.name] = `file:${tarball}`
  lock.packages[''] = app
  lock.packages[`node_modules/${own.name}`] = {
    version: own.version, resolved: `file:${tarball}`, peerDependencies: own.peerDependencies,
  }
  await writeFile(join(folder, 'package.json'), JSON.stringify(app))
  await writeFile(join(folder, 'package-lock.json'), JSON.stringify(lock))
}

describe('the package, as an application gets it', () => {
  let folder: string
  let packed: { filename: string; files: { path: string }[] }

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sluice-example-'))
    await cp(example, folder, { recursive: true, filter: (path) => !/node_modules|dist$|package-lock/.test(path) })
    ;[packed] = JSON.parse(await run('.', 'npm', 'pack', '--json', '--silent', '--pack-destination', folder))
    await pinExample(folder, packed.filename)
    await run(folder, 'npm', 'install', '--prefer-offline', '--no-audit', '--no-fund')
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
