/** What the demo's provider does to every call. */
export type Mode = 'healthy' | 'rate-limited' | 'down' | 'out-of-credit'

export const readMode = (simulator: string): Promise<Mode> => ask(simulator)

export const setMode = (simulator: string, mode: Mode): Promise<Mode> =>
  ask(simulator, { method: 'PUT', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ mode }) })

async function ask(simulator: string, init?: RequestInit): Promise<Mode> {
  const response = await fetch(`${simulator}/control/mode`, init)
  if (!response.ok) throw new Error(`the simulator answered with status ${response.status}`)
  const { mode }: { mode: Mode } = await response.json()
  return mode
}
