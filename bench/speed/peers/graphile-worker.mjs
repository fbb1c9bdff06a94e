// graphile-worker, with the settings of its own performance page, but for a larger local queue, which is faster here.
import { Logger, makeWorkerUtils, run } from "graphile-worker";
import { begin, fill, spec, tally } from "./process.mjs";

const quiet = new Logger(() => (level, message) => {
  if (level === "error") console.error(message);
});

const preset = {
  worker: {
    connectionString: spec.URL,
    concurrentJobs: 24,
    localQueue: { size: 2000 },
    completeJobBatchDelay: 0,
    failJobBatchDelay: 0,
    logger: quiet,
  },
};

// It keeps nothing of a job that is done.
const taskList = { work: async () => tally.add() };

const parts = {
  async schema() {
    const utils = await makeWorkerUtils({ preset });
    await utils.migrate();
    await utils.release();
  },
  async fill() {
    const utils = await makeWorkerUtils({ preset });
    await fill((batch) => utils.addJobs(batch.map((payload) => ({ identifier: "work", payload }))));
    await utils.release();
  },
  async work() {
    await begin();
    await run({ preset, taskList, noHandleSignals: true });
  },
};

await parts[spec.Part]();
if (spec.Part !== "work") process.exit(0);
