import { useEffect, useMemo, useState } from 'react'
import { createSluiceClient, SluiceProvider } from '@sluice/react'
import { readAbout, type About } from './about.js'
import { Page } from './Page.js'
import { session } from './session.js'
import { SignIn } from './SignIn.js'

const retryAfter = 2000

/** The page, once it knows where it is, and who asks where that matters. */
export function App() {
  const about = useAbout()
  const [key, setKey] = useState(session.read)
  const [refusal, setRefusal] = useState('')
  const client = useMemo(() => createSluiceClient(key ? { getToken: () => key } : {}), [key])

  if (!about) return <Blank />
  const signIn = (given: string) => {
    session.keep(given)
    setRefusal('')
    setKey(given)
  }
  const signOut = (why = '') => {
    session.forget()
    setRefusal(why)
    setKey(null)
  }
  if (about.auth && !key) return <SignIn onKey={signIn} refusal={refusal} />
  return (
    <SluiceProvider client={client} key={key}>
      <Page simulator={about.simulator} onSignOut={about.auth ? signOut : undefined} />
    </SluiceProvider>
  )
}

function useAbout(): About | undefined {
  const [about, setAbout] = useState<About>()
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined
    let left = false
    const ask = () =>
      readAbout().then(
        (answer) => left || setAbout(answer),
        () => left || (timer = setTimeout(ask, retryAfter)),
      )
    void ask()
    return () => {
      left = true
      clearTimeout(timer)
    }
  }, [])
  return about
}

function Blank() {
  return (
    <header className="top">
      <h1>Sluice</h1>
      <p role="status">Connecting…</p>
    </header>
  )
}
