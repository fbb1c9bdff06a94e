import { useEffect, useState } from 'react'
import { useMessages } from './SluiceProvider.js'

/** Counts down to a moment, for the eye alone: read aloud every second it would drown everything else. */
export function Countdown({ to }: { to: number }) {
  const messages = useMessages()
  const [left, setLeft] = useState(0)
  useEffect(() => {
    const tick = () => setLeft(Math.ceil((to - Date.now()) / 1000))
    tick()
    const timer = setInterval(tick, 1000)
    return () => clearInterval(timer)
  }, [to])
  return left > 0 && <span className="sluice-countdown" aria-hidden="true">{messages.nextTry(left)}</span>
}
