import { useEffect, useState, type FormEvent } from 'react'
import { useEnqueue, useSluiceClient, type Enqueue, type SluiceError, type State } from '@sluice/react'
import { readDraft } from './draft.js'
import { Link } from './Link.js'

/** Adds a job of any type. */
export function EnqueueForm({ state }: { state: State | null }) {
  const types = useTypes()
  const [raw, setRaw] = useState(false)
  const [fault, setFault] = useState('')
  const submission = useEnqueue()
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault()
    const draft = readDraft(new FormData(event.currentTarget))
    setFault('fault' in draft ? draft.fault : '')
    if ('body' in draft) void submission.enqueue(draft.body)
  }
  return (
    <form className="card enqueue" aria-label="Enqueue" onSubmit={submit}>
      <h2>Enqueue</h2>
      <label htmlFor="type">Type</label>
      <select id="type" name="type" required>
        {types.map(({ name }) => (
          <option key={name}>{name}</option>
        ))}
      </select>
      <div className="label-row">
        <label htmlFor="prompt">Prompt</label>
        <label className="switch">
          <input type="checkbox" role="switch" name="raw" checked={raw} onChange={() => setRaw(!raw)} /> Raw JSON
        </label>
      </div>
      <textarea id="prompt" name="prompt" rows={4} required spellCheck={!raw} aria-describedby="prompt-hint" />
      <p id="prompt-hint" className="muted">{raw ? 'The whole payload: an object with input or messages.' : 'Becomes the input of the payload.'}</p>
      <div className="pair">
        <div>
          <label htmlFor="priority">Priority</label>
          <input id="priority" name="priority" type="number" min={1} max={10} placeholder="by type" aria-describedby="priority-hint" />
          <p id="priority-hint" className="muted">1 is first</p>
        </div>
        <div>
          <label htmlFor="delay">Delay</label>
          <input id="delay" name="delay" type="number" min={0} max={2_592_000} placeholder="0" aria-describedby="delay-hint" />
          <p id="delay-hint" className="muted">seconds</p>
        </div>
      </div>
      <button disabled={submission.phase === 'submitting' || !types.length}>Enqueue</button>
      <p role="status">
        {outcome(submission)} {submission.id && <Link to={{ state, job: submission.id }}>See it</Link>}
      </p>
      {(fault || submission.error) && <p role="alert">{fault || submission.error?.message}</p>}
    </form>
  )
}

export const outcome = ({ phase }: Pick<Enqueue, 'phase'>): string =>
  phase === 'started' ? 'It starts now.' : phase === 'queued' ? 'Added to the queue. It starts as soon as there is capacity.' : ''

const lookAgain = 5000 // ms, where the types could not be read

function useTypes() {
  const client = useSluiceClient()
  const read = () => client.request('get', '/api/ai/types')
  const [types, setTypes] = useState<Awaited<ReturnType<typeof read>>['types']>([])
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined
    const askLater = ({ transient }: SluiceError) => {
      if (transient) timer = setTimeout(ask, lookAgain)
    }
    const ask = () => read().then((answer) => setTypes(answer.types), askLater)
    void ask()
    return () => clearTimeout(timer)
  }, [client])
  return types
}
