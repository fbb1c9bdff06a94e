import { useEffect, useRef, useState } from 'react'
import { useLatest } from './useLatest.js'

/** How long one announcement has the listener's ear, in milliseconds. */
const quietFor = 10_000
/** A live region has to be there before its text changes, or nobody hears it. */
const settleFor = 100

/**
 * The text of a live region: it changes when the milestone does, at most every ten seconds, and then to the newest text.
 * Empty at first.
 */
export function useAnnouncement(milestone: string, text: string): string {
  const [said, say] = useState('')
  const saidAt = useRef(-Infinity)
  const newest = useLatest(text)
  useEffect(() => {
    const timer = setTimeout(() => {
      saidAt.current = Date.now()
      say(newest.current)
    }, Math.max(settleFor, saidAt.current + quietFor - Date.now()))
    return () => clearTimeout(timer)
  }, [milestone])
  return said
}
