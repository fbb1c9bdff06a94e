import { useEffect, useMemo, useState } from 'react'
import { useSluiceClient, useWatch } from '@sluice/react'

/** The time by this machine's clock, each second anew while somebody counts down by it. */
export function useNow(counting: boolean): number {
  const [now, setNow] = useState(Date.now)
  useEffect(() => {
    if (!counting) return
    setNow(Date.now())
    const timer = setInterval(() => setNow(Date.now()), 1000)
    return () => clearInterval(timer)
  }, [counting])
  return now
}

/** The time by the server's clock, which may differ from this machine's, each second anew while somebody counts by it. */
export function useServerNow(counting: boolean): number {
  const client = useSluiceClient()
  const { data, receivedAt } = useWatch(useMemo(() => client.status(), [client]))
  const now = useNow(counting)
  return data ? now + Date.parse(data.now) - receivedAt : now
}
