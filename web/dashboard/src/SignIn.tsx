import { useEffect, type FormEvent } from 'react'

/** Asks for an API key. It goes nowhere but to this tab's session and, with each request, to the server. */
export function SignIn({ onKey, refusal }: { onKey(key: string): void; refusal: string }) {
  useEffect(() => {
    document.title = 'Sluice'
  }, [])
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault()
    const key = String(new FormData(event.currentTarget).get('key')).trim()
    if (key) onKey(key)
  }
  return (
    <>
      <header className="top">
        <h1>Sluice</h1>
      </header>
      <main>
        <form className="card signin" aria-label="Sign in" onSubmit={submit}>
          <h2>Sign in</h2>
          <label htmlFor="key">API key</label>
          <input id="key" name="key" type="password" autoComplete="off" required autoFocus aria-describedby="key-hint" />
          <p id="key-hint" className="muted">
            Kept in this tab alone, until it is closed. <code>bin/api key create</code> makes one; it needs the scope read to look,
            operate to cancel and retry, enqueue to enqueue, admin for all.
          </p>
          {refusal && <p role="alert">{refusal}</p>}
          <button>Sign in</button>
        </form>
      </main>
    </>
  )
}
