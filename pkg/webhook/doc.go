// Package webhook tells a job's callback_url, or else its tenant's endpoint, that the job has ended: a POST after
// https://www.standardwebhooks.com, signed, tried for a day. It owns all that becomes of a row of `webhook_deliveries` once
// pkg/queue has written it, in the statement that ended the job.
//
// It promises that:
//
//   - a delivery is tried until a 2xx, a 410, or the end of the day; it may be made twice (a worker that dies after the
//     call), and then with the same `webhook-id`;
//   - nothing leaves unsigned, and nothing goes to a host that the operator did not allow;
//   - no address inside the network is reached, whatever a name, a notation or a redirect says: the address that is dialled
//     is checked, and no other;
//   - one slow host holds a few slots and one tenant a part of them, so that the others' deliveries go on.
//
// Signature, schedule, body and addresses are pure. It never holds a transaction or a connection while a call is in flight.
package webhook
