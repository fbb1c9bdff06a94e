import { execFile } from 'node:child_process'
import { cp, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const own = fileURLToPath(new URL('..', import.meta.url))
export const example = join(own, '../../examples/react')

export const readJson = async (path: string) => JSON.parse(await readFile(path, 'utf8'))

const { NODE_ENV: _, ...env } = process.env // a user's shell has none

export const run = async (folder: string, command: string, ...args: string[]): Promise<string> =>
  (await promisify(execFile)(command, args, { cwd: folder, env })).stdout

/**
 * What `npm install ./sluice-react.tgz` would write, with the versions of our own lockfile: npm has all of those in its
 * cache, so that no network is needed.
 */
async function pinExample(folder: string, tarball: string): Promise<void> {
  const pkg = await readJson(join(own, 'package.json'))
  const app = await readJson(join(example, 'package.json'))
  const lock = await readJson(join(own, 'package-lock.json'))
  app.dependencies[pkg.name] = `file:${tarball}`
  lock.packages[''] = app
  lock.packages[`node_modules/${pkg.name}`] = {
    version: pkg.version, resolved: `file:${tarball}`, peerDependencies: pkg.peerDependencies,
  }
  await writeFile(join(folder, 'package.json'), JSON.stringify(app))
  await writeFile(join(folder, 'package-lock.json'), JSON.stringify(lock))
}

/** Packs the package and installs it in a copy of the example, as an application does. */
export async function installExample(folder: string): Promise<{ filename: string; files: { path: string }[] }> {
  await cp(example, folder, { recursive: true, filter: (path) => !/node_modules|dist$|package-lock/.test(path) })
  const [packed] = JSON.parse(await run(own, 'npm', 'pack', '--json', '--silent', '--pack-destination', folder))
  await pinExample(folder, packed.filename)
  await run(folder, 'npm', 'install', '--prefer-offline', '--no-audit', '--no-fund')
  return packed
}
