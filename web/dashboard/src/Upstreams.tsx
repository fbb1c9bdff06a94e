import { useState } from 'react'
import { useSluiceClient, type SluiceError, type Upstream } from '@sluice/react'
import { Quota } from './Quota.js'
import { useServerNow } from './useNow.js'
import { count, probeWords, reasonWords } from './words.js'

/** Every provider and model: whether calls go there, and how much of its limits is left. */
export function Upstreams({ upstreams, known }: { upstreams: Upstream[]; known: boolean }) {
  return (
    <section aria-label="Upstreams">
      <h2>Upstreams</h2>
      {known && !upstreams.length && <p className="muted">No type is configured with one.</p>}
      <div className="tiles">
        {upstreams.map((upstream) => (
          <Tile upstream={upstream} key={upstream.name} />
        ))}
      </div>
    </section>
  )
}

function Tile({ upstream }: { upstream: Upstream }) {
  const { name, breaker, quota, in_flight } = upstream
  const now = useServerNow(breaker.state === 'open')
  const probe = probeWords(breaker, now)
  return (
    <article className="card tile" aria-label={name} data-breaker={breaker.state}>
      <h3>{name}</h3>
      <p className="breaker">
        <b className="badge" data-breaker={breaker.state}>{breaker.state}</b>
        <span>{reasonWords(breaker)}</span>
        {probe && <span className="probe">{probe}</span>}
      </p>
      <Quota name="requests" dimension={quota.requests} />
      <Quota name="tokens" dimension={quota.tokens} />
      <p className="foot">
        <span>{count(in_flight)} in flight</span>
        <Operate upstream={upstream} />
      </p>
    </article>
  )
}

/** An operator's hand on a breaker. */
function Operate({ upstream: { name, breaker } }: { upstream: Upstream }) {
  const client = useSluiceClient()
  const [pending, setPending] = useState(false)
  const [refusal, setRefusal] = useState('')
  const turn = async (to: 'pause' | 'resume') => {
    setPending(true)
    const path = `/api/ai/upstreams/{name}/${to}` as const
    const error = await client.request('post', path, { path: { name } }).then(() => undefined, (cause: SluiceError) => cause)
    setRefusal(error?.message ?? '')
    setPending(false)
  }
  const pause = () => {
    if (confirm(`Pause ${name}? Its jobs wait until it is resumed, those of all tenants.`)) void turn('pause')
  }
  return (
    <>
      {refusal && <span role="alert">{refusal}</span>}
      {breaker.state !== 'closed' && <button disabled={pending} onClick={() => turn('resume')}>Resume</button>}
      {breaker.reason !== 'operator' && <button disabled={pending} onClick={pause}>Pause</button>}
    </>
  )
}
