import { useEffect } from 'react'
import { useAiStatus, type Connection } from '@sluice/react'
import { EnqueueForm } from './EnqueueForm.js'
import { JobPanel } from './JobPanel.js'
import { Jobs } from './Jobs.js'
import { usePlace } from './place.js'
import { Provider } from './Provider.js'
import { Queue } from './Queue.js'
import { Upstreams } from './Upstreams.js'
import { title } from './words.js'

/** All regions of the page. */
export function Page({ simulator, onSignOut }: { simulator: string | null; onSignOut?(why?: string): void }) {
  const status = useAiStatus()
  const place = usePlace()
  useEffect(() => {
    document.title = title(status.queue, status.upstreams)
  }, [status])
  const refused = status.error?.status === 401
  useEffect(() => {
    if (refused) onSignOut?.('The server did not take this key.')
  }, [refused])

  return (
    <>
      <header className="top">
        <h1>Sluice</h1>
        <ConnectionState connection={status.connection} known={!!status.queue} trouble={status.error?.message} />
        {onSignOut && <button onClick={() => onSignOut()}>Sign out</button>}
      </header>
      <main>
        {simulator && <Provider simulator={simulator} />}
        <Queue queue={status.queue} />
        <Upstreams upstreams={status.upstreams} known={!!status.queue} />
        <div className="columns" data-open={!!place.job}>
          <Jobs place={place} />
          <div className="side">
            {place.job && <JobPanel id={place.job} state={place.state} key={place.job} />}
            <EnqueueForm state={place.state} />
          </div>
        </div>
      </main>
    </>
  )
}

interface ConnectionProps {
  connection: Connection
  known: boolean
  trouble: string | undefined
}

function ConnectionState({ connection, known, trouble }: ConnectionProps) {
  return (
    <p role="status" className="connection" data-connection={connection}>
      {connectionWords(connection, known, trouble)}
    </p>
  )
}

export function connectionWords(connection: Connection, known: boolean, trouble?: string): string {
  switch (connection) {
    case 'offline':
      return 'Offline: what is shown is as it was last known.'
    case 'connecting':
      return known || trouble ? 'Reconnecting…' : 'Connecting…'
    case 'failed':
      return `No news: ${trouble ?? 'the server refused'}.`
    default:
      return 'Live'
  }
}
