import { createContext, useContext, useMemo, type ReactNode } from 'react'
import type { SluiceClient } from './client.js'
import { english, type Messages } from './messages.js'

const Sluice = createContext<{ client?: SluiceClient; messages: Messages }>({ messages: english })

export interface SluiceProviderProps {
  client: SluiceClient
  /** What differs from the messages of the provider around this one, or from English. */
  messages?: Partial<Messages>
  children?: ReactNode
}

/** Gives the hooks and components below it their client and their words. */
export function SluiceProvider({ client, messages, children }: SluiceProviderProps) {
  const outer = useMessages()
  const value = useMemo(() => ({ client, messages: { ...outer, ...messages } }), [client, outer, messages])
  return <Sluice.Provider value={value}>{children}</Sluice.Provider>
}

/** The client of the nearest SluiceProvider. */
export function useSluiceClient(): SluiceClient {
  const { client } = useContext(Sluice)
  if (!client) throw new Error('There is no <SluiceProvider> around this component')
  return client
}

/** The messages of the nearest SluiceProvider, complete. */
export const useMessages = (): Messages => useContext(Sluice).messages
