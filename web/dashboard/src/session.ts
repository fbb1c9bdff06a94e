const name = 'sluice-key'

/** Does what a browser may forbid altogether; then nothing is kept. */
function ifAllowed<T>(use: () => T): T | null {
  try {
    return use()
  } catch {
    return null
  }
}

/** The API key of this tab. sessionStorage alone holds it: it ends with the tab, and no other one sees it. */
export const session = {
  read: () => ifAllowed(() => sessionStorage.getItem(name)),
  keep: (key: string) => ifAllowed(() => sessionStorage.setItem(name, key)),
  forget: () => ifAllowed(() => sessionStorage.removeItem(name)),
}
