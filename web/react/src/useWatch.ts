import { useSyncExternalStore } from 'react'
import type { Snapshot, Watch } from './client.js'

/**
 * Follows a watch of the client. It must be the same object from render to render:
 * `useWatch(useMemo(() => client.poll('/api/ai/jobs', {query: {state}}), [client, state]))`.
 */
export const useWatch = <T,>(watch: Watch<T>): Snapshot<T> =>
  useSyncExternalStore(watch.subscribe, watch.getSnapshot, watch.getServerSnapshot)
