import type { AnchorHTMLAttributes, MouseEvent } from 'react'
import { goTo, placeUrl, type Place } from './place.js'

/** A link within the page: it can be opened in another tab, and is followed without a reload. */
export function Link({ to, ...rest }: { to: Place } & AnchorHTMLAttributes<HTMLAnchorElement>) {
  const follow = (event: MouseEvent) => {
    if (event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return
    event.preventDefault()
    goTo(to)
  }
  return <a href={placeUrl(to)} onClick={follow} {...rest} />
}
