import { expect, it } from 'vitest'
import { placeUrl, readPlace } from './place.js'

const id = '0199f0c1-7f5d-7c55-8f6e-3f1d6f0a2b11'

it('survives a reload: what a URL says is what it was made of', () => {
  for (const place of [{ state: null, job: null }, { state: 'failed', job: null }, { state: null, job: id }, { state: 'done', job: id }] as const) {
    expect(readPlace(placeUrl(place).slice(1))).toEqual(place)
  }
  expect(placeUrl({ state: null, job: null })).toBe('/')
})

it('takes nothing from a URL that is no filter and no id', () => {
  expect(readPlace('?state=toString&job=../../etc')).toEqual({ state: null, job: null })
  expect(readPlace(`?job=${id}/cancel&state=`)).toEqual({ state: null, job: null })
})
