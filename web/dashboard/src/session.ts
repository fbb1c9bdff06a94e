const name = 'sluice-key'

/** The API key of this tab. sessionStorage alone holds it: it ends with the tab, and no other one sees it. */
export const session = {
  read: (): string | null => sessionStorage.getItem(name),
  keep: (key: string): void => sessionStorage.setItem(name, key),
  forget: (): void => sessionStorage.removeItem(name),
}
