// @vitest-environment node
import { renderToString } from 'react-dom/server'
import { expect, it } from 'vitest'
import { jobId } from '../test/factories.js'
import { fakeServer } from '../test/fakes.js'
import { AiIndicators, createSluiceClient, JobProgress, SluiceProvider, useAiStatus } from './index.js'

it('renders on a server, where nothing is known and nothing is asked', () => {
  const server = fakeServer()
  const html = renderToString(
    <SluiceProvider client={createSluiceClient({ fetch: server.fetch })}>
      <AiIndicators />
      <JobProgress id={jobId} persist="summary" />
    </SluiceProvider>,
  )
  expect(html).toContain('AI status unknown')
  expect(html).toContain('data-state="loading"')
  expect(html).toContain('<p role="status" class="sluice-hidden"></p>')
  expect(server.requests).toHaveLength(0)
})

it('says what is missing', () => {
  const Alone = () => <>{useAiStatus().connection}</>
  expect(() => renderToString(<Alone />)).toThrow('There is no <SluiceProvider> around this component')
})
