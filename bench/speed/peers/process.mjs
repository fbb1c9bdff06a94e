// What the processes of all peers have in common: a part to play, from the environment, and the parent's protocol.
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";

export const spec = JSON.parse(process.env.BENCH_SPEC);

// begin says "ready", waits for "go", and ends the process with the input: then the benchmark is gone, or has no more use
// for a worker.
export async function begin() {
  const input = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  console.log("ready");
  const { value, done } = await input.next();
  if (done || value !== "go") process.exit(0);
  input.next().then(() => process.exit(0));
}

// tally counts the jobs that have begun and tells them as the other contenders do.
export const tally = {
  n: 0,
  first: 0,
  add(jobs = 1) {
    if (this.n === 0) this.first = Date.now();
    this.n += jobs;
  },
};

let told = 0;
setInterval(() => {
  if (tally.n === told) return;
  if (told === 0) console.log(`first ${tally.first}000000`);
  told = tally.n;
  console.log(`handled ${told}`);
}, 10).unref();

// fill hands over the payloads that come as lines, many at once.
export async function fill(insert) {
  const payloads = (await text(process.stdin)).trim().split("\n");
  for (let i = 0; i < payloads.length; i += 10000) {
    await insert(payloads.slice(i, i + 10000).map((line) => JSON.parse(line)));
  }
}
