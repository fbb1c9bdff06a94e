import { useEffect, useState } from 'react'

/** Keeps, changes or drops what a tab remembers. A browser can forbid that altogether; then nothing survives a reload. */
function remember(key: string, id?: string | null): string | null {
  try {
    if (id) sessionStorage.setItem(key, id)
    if (id === null) sessionStorage.removeItem(key)
    return sessionStorage.getItem(key)
  } catch {
    return id ?? null
  }
}

/** An id that survives a reload of its tab, in sessionStorage under `key`: the one given, or else the one kept. */
export function usePersistedId(id: string | null | undefined, key: string | undefined): [id: string | null, forget: () => void] {
  const [kept, keep] = useState<string | null>(null)
  useEffect(() => {
    if (key) keep(remember(key, id ?? undefined))
  }, [key, id])
  const forget = () => {
    if (key) keep(remember(key, null))
  }
  return [id ?? kept, forget]
}
