import { act, render } from '@testing-library/react'
import axe from 'axe-core'
import { StrictMode, type ReactNode } from 'react'
import { createSluiceClient, SluiceProvider, type Messages } from '../src/index.js'
import { fakeServer, latestStream, pass } from './fakes.js'

/** Renders as an application does, in StrictMode, with a server in the test's hands. */
export function renderWithSluice(ui: ReactNode, messages?: Partial<Messages>) {
  const server = fakeServer()
  const client = createSluiceClient({ fetch: server.fetch })
  const wrapper = ({ children }: { children: ReactNode }) => (
    <StrictMode>
      <SluiceProvider client={client} messages={messages}>{children}</SluiceProvider>
    </StrictMode>
  )
  return { server, client, ...render(ui, { wrapper }) }
}

export const wait = (ms = 0) => act(() => pass(ms))
export const tell = (data: unknown) => act(() => latestStream().tell(data))

/** What axe finds wrong. Colours it cannot see here; the stylesheet's test looks at those. It needs real timers. */
export async function violations(container: Element): Promise<string[]> {
  const { violations } = await axe.run(container, { rules: { 'color-contrast': { enabled: false } } })
  return violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html}`))
}
