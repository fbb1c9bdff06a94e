/** A delay spread by a quarter to either side, so that pages that failed together do not come back together. */
export const jittered = (ms: number): number => ms * (0.75 + Math.random() / 2)

/** The delay after so many failures in a row: it doubles from `first` and never grows beyond a minute. */
export const backoff = (failures: number, first = 1000): number => jittered(Math.min(first * 2 ** failures, 60_000))
