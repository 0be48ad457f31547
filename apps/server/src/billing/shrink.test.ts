import assert from 'node:assert/strict'
import { test } from 'node:test'
import { aPayer, house, type House } from './testing/house.ts'

const subjects = (h: House): string[] => h.mails.map(({ subject }) => subject.split(' - ')[0] ?? subject)

test('whoever loses connections to a changed plan hears it by mail, with what the plan allows now', async (t) => {
  const h = await house(t)
  const user = await aPayer(h)
  h.endedByChange = 2
  assert.equal((await h.call('PUT', '/subscriptions/change', user, { plan_id: 'premium_yearly' })).status, 200)
  await h.settle()
  const mails = h.mails.filter(({ subject }) => subject.startsWith('Your plan has changed'))
  assert.equal(mails.length, 1)
  assert.match(mails[0]?.text ?? '', /Premium Yearly: 5 connections at a time, 5 devices/)
  assert.match(mails[0]?.text ?? '', /the oldest first: 2 connections/)
})

test('a change that ends nothing is not told', async (t) => {
  const h = await house(t)
  const user = await aPayer(h)
  assert.equal((await h.call('PUT', '/subscriptions/change', user, { plan_id: 'premium_yearly' })).status, 200)
  await h.settle()
  assert.ok(!subjects(h).includes('Your plan has changed'))
})

test('the end of a plan is one mail, whatever connections it ends', async (t) => {
  const h = await house(t)
  await aPayer(h)
  h.endedByChange = 3
  const [subscription] = h.standin.store.all('subscription')
  h.standin.dispute(h.standin.store.all('charge')[0]?.id ?? '')
  await h.settle()
  assert.equal(subscription?.status, 'canceled')
  assert.deepEqual(subjects(h), ['Your receipt', 'Your plan has ended'])
})
