// pg-boss, with the settings that drain fastest: large batches, fetched one after the other while they come back full.
import { PgBoss } from "pg-boss";
import { begin, fill, spec, tally } from "./process.mjs";

const queue = "work";
const boss = new PgBoss({ connectionString: spec.URL, supervise: spec.Part === "work", schedule: false });
boss.on("error", (error) => console.error(error));

const options = {
  batchSize: 1000,
  localConcurrency: 4,
  burstWhenBatchFull: true,
  pollingIntervalSeconds: 0.5,
  perJobResults: true,
};

async function handle(jobs) {
  tally.add(jobs.length);
  return jobs.map(({ id }) => ({ id, status: "completed", output: { output_text: spec.Result } }));
}

const parts = {
  async schema() {
    await boss.start();
    await boss.createQueue(queue);
  },
  async fill() {
    await boss.start();
    await fill((batch) => boss.insert(queue, batch.map((data) => ({ data }))));
  },
  async work() {
    await boss.start();
    await begin();
    await boss.work(queue, options, handle);
  },
};

await parts[spec.Part]();
if (spec.Part !== "work") process.exit(0);
