import { AiIndicators, createSluiceClient, JobProgress, SluiceProvider, useEnqueue } from '@sluice/react'
import '@sluice/react/styles.css'
import { useState, type FormEvent } from 'react'
import { createRoot } from 'react-dom/client'

const client = createSluiceClient()

function Diary() {
  const [toast, setToast] = useState('')
  const { enqueue, id, phase, error } = useEnqueue({ onQueued: setToast })

  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault()
    setToast('')
    void enqueue({ type: 'diary.entry', payload: { input: String(new FormData(event.currentTarget).get('text')) } })
  }
  return (
    <form onSubmit={submit}>
      <label htmlFor="text">Dear diary</label>
      <textarea id="text" name="text" required />
      <button disabled={phase === 'submitting'}>Sum it up</button>
      <p role="status">{toast || error?.message}</p>
      <JobProgress id={id} persist="diary" />
    </form>
  )
}

createRoot(document.getElementById('root')!).render(
  <SluiceProvider client={client}>
    <AiIndicators />
    <Diary />
  </SluiceProvider>,
)
