import { useState } from 'react'
import { useSluiceClient } from '@sluice/react'

/** A job's payload, which may be large: it is read when somebody wants to see it. */
export function Payload({ id }: { id: string }) {
  const client = useSluiceClient()
  const [text, setText] = useState('')
  const read = async () => {
    const job = await client.request('get', '/api/ai/jobs/{id}', { path: { id } }).catch((error: Error) => error)
    setText(job instanceof Error ? job.message : JSON.stringify(job.payload, null, 2))
  }
  return (
    <details onToggle={(event) => event.currentTarget.open && !text && read()}>
      <summary>Payload</summary>
      <pre tabIndex={0} role="group" aria-label="Payload">{text || 'Loading…'}</pre>
    </details>
  )
}
