/** What the server tells of itself at /page.json, before anything is asked for. */
export interface About {
  /** An API key is asked for. */
  auth: boolean
  /** The URL of the demo's simulated provider. */
  simulator: string | null
}

export async function readAbout(): Promise<About> {
  const response = await fetch('/page.json', { cache: 'no-store' })
  if (!response.ok) throw new Error(`the server answered with status ${response.status}`)
  return response.json()
}
