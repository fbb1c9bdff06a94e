import type { ReactNode } from 'react'
import type { Connection, SluiceError } from './client.js'
import type { Messages } from './messages.js'
import { useAnnouncement } from './useAnnouncement.js'

/** A mark beside a text that says the same. The stylesheet gives each state a shape and a colour. */
export const Icon = () => <span className="sluice-icon" aria-hidden="true" />

export interface PanelProps {
  name: string
  className?: string
  label: string
  /** State for stylesheets; null and undefined are left out. */
  [attribute: `data-${string}`]: string | null | undefined
  /** Why there is no news, if there is none. */
  trouble?: string
  /** Changes when something is worth saying aloud. */
  milestone: string
  /** What is said then. */
  spoken: string
  children: ReactNode
}

/** The frame of a component: its name, what it looks like, its trouble, and what it says to those who do not see it. */
export function Panel({ name, className = '', label, trouble, milestone, spoken, children, ...data }: PanelProps) {
  const announcement = useAnnouncement(milestone + trouble, trouble || spoken)
  return (
    <section className={`sluice sluice-${name} ${className}`} aria-label={label} {...data}>
      {children}
      {trouble && <p className="sluice-trouble">{trouble}</p>}
      <p role="status" className="sluice-hidden">{announcement}</p>
    </section>
  )
}

/** Why there is no news, in words. */
export const troubleOf = (connection: Connection, error: SluiceError | undefined, messages: Messages): string | undefined =>
  connection === 'offline' ? messages.offline : error && messages.trouble(error)
