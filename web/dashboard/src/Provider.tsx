import { useEffect, useState } from 'react'
import { readMode, setMode, type Mode } from './simulator.js'

const choices: { mode: Mode; label: string; see: string }[] = [
  { mode: 'healthy', label: 'Healthy', see: 'It answers, up to 240 requests a minute. Waiting jobs go on by themselves.' },
  { mode: 'rate-limited', label: 'Rate-limited', see: 'It takes 12 requests a minute now, and a job comes every second: after a few of them the others wait, and say for what; none fails.' },
  { mode: 'down', label: 'Down', see: 'It answers with 503. After a few failures the breaker opens for all workers, and one probe at a time looks whether it is back.' },
  { mode: 'out-of-credit', label: 'Out of credit', see: 'It says that the account is empty. Jobs are held without using up a try, until a probe gets through.' },
]

/** The demo's switch of its simulated provider. */
export function Provider({ simulator }: { simulator: string }) {
  const [mode, setShown] = useState<Mode>()
  const [trouble, setTrouble] = useState('')
  const turn = (change: Promise<Mode>) =>
    change.then(
      (now) => {
        setShown(now)
        setTrouble('')
      },
      () => {
        setShown(undefined)
        setTrouble('The simulator does not answer.')
      },
    )
  useEffect(() => void turn(readMode(simulator)), [simulator])
  const choose = (choice: Mode) => {
    setShown(choice) // at once; what the simulator says in the end is what counts
    void turn(setMode(simulator, choice))
  }
  return (
    <section aria-label="Demo" className="card demo">
      <fieldset role="radiogroup" aria-label="Provider">
        <legend>Provider</legend>
        {choices.map(({ mode: choice, label }) => (
          <label key={choice}>
            <input type="radio" name="provider" checked={mode === choice} onChange={() => choose(choice)} /> {label}
          </label>
        ))}
      </fieldset>
      <p className="muted">
        {choices.find((choice) => choice.mode === mode)?.see ?? 'The provider of this demo is simulated; a job comes every second.'}
      </p>
      {trouble && <p role="alert">{trouble}</p>}
    </section>
  )
}
