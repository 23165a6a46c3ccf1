// The other side of the queue tests: BullMQ and Bull Board on Node. One command a run; prints one JSON value.
//   node interop.mjs add QUEUE '[{"name","data","opts"}, ...]'   ids of the added jobs
//   node interop.mjs state QUEUE '["id", ...]'                   state of each job, as Job.getState says
//   node interop.mjs work QUEUE COUNT                            runs COUNT jobs with a BullMQ worker
//   node interop.mjs board '["QUEUE", ...]' QUEUE STATUS         what Bull Board's API lists
// CONNECTION is the ioredis connection as JSON.
import { createRequire } from "node:module";
import { createBullBoard } from "@bull-board/api";
import { BullMQAdapter } from "@bull-board/api/bullMQAdapter";

const { Queue, Worker } = createRequire(import.meta.url)("bullmq");
const connection = JSON.parse(process.env.CONNECTION);
const [command, ...args] = process.argv.slice(2);

const commands = {
  async add(name, jobs) {
    const queue = new Queue(name, { connection });
    const added = [];
    for (const job of JSON.parse(jobs)) added.push(await queue.add(job.name, job.data, job.opts));
    await queue.close();
    return added.map((job) => job.id);
  },

  async state(name, ids) {
    const queue = new Queue(name, { connection });
    const states = {};
    for (const id of JSON.parse(ids)) {
      const job = await queue.getJob(id);
      states[id] = job ? await job.getState() : "missing";
    }
    await queue.close();
    return states;
  },

  async work(name, count) {
    const seen = [];
    let worker;
    await new Promise((resolve, reject) => {
      const run = async (job) => ({ ran: job.id });
      worker = new Worker(name, run, { connection, concurrency: 1 });
      worker.on("completed", (job) => {
        seen.push({ id: job.id, name: job.name, data: job.data, attempts: job.opts.attempts, backoff: job.opts.backoff });
        if (seen.length === Number(count)) resolve();
      });
      worker.on("failed", (_, error) => reject(error));
      worker.on("error", reject);
    });
    await worker.close();
    return seen;
  },

  async board(names, activeQueue, status) {
    const queues = JSON.parse(names).map((name) => new Queue(name, { connection }));
    const routes = [];
    let known;
    const serverAdapter = new Proxy(
      {
        setApiRoutes: (list) => (routes.push(...list), serverAdapter),
        setQueues: (map) => ((known = map), serverAdapter),
      },
      { get: (own, key) => own[key] ?? (() => serverAdapter) },
    );
    createBullBoard({ queues: queues.map((queue) => new BullMQAdapter(queue)), serverAdapter });
    const route = routes.find((each) => [each.route].flat().includes("/api/queues"));
    const reply = await route.handler({
      queues: known, query: { activeQueue, status, page: "1", jobsPerPage: "50" }, params: {}, headers: {}, body: {},
    });
    await Promise.all(queues.map((queue) => queue.close()));
    return reply.body.queues.map((queue) => ({
      name: queue.name, counts: queue.counts, isPaused: queue.isPaused,
      jobs: queue.jobs.map((job) => ({ id: job.id, name: job.name, data: job.data })),
    }));
  },
};

console.log(JSON.stringify(await commands[command](...args)));
process.exit(0);
