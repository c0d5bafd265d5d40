// The lists of the page: follows the newest jobs by one event stream, and polls workers and queue. page.js is loaded after it.
"use strict";

const LIST_MS = 200; // shortest time from an event to a new list: many may come at once
const FOLLOWED = 100; // jobs that the stream of the list tells of

const rows = new Map(); // id -> row; rows are reused, so that focus and selection stay where they are

function showJobs(jobs) {
  const body = $("jobs");
  const ids = new Set(jobs.map((job) => job.id));
  for (const [id, row] of rows) if (!ids.has(id)) { row.remove(); rows.delete(id); }
  jobs.forEach((job, i) => {
    const row = rows.get(job.id) || newRow(job);
    if (body.children[i] !== row) body.insertBefore(row, body.children[i] || null);
    fillRow(row, job);
  });
  $("no-jobs").hidden = jobs.length > 0;
}

function newRow(job) {
  const row = make("tr", {}, ...Array.from({ length: 6 }, () => make("td")));
  const name = make("button", { type: "button", class: "name" }, job.id);
  name.addEventListener("click", () => { location.hash = job.id; });
  row.cells[0].append(name);
  row.cells[1].append(make("span"));
  row.cells[2].textContent = `${job.law.split("@")[0]} · ${job.precision}`;
  row.cells[2].title = job.law;
  row.cells[3].textContent = job.spec.grid.join(" × ");
  row.cells[4].append(make("progress", { "aria-label": `progress of ${job.id}` }));
  rows.set(job.id, row);
  return row;
}

function fillRow(row, job) {
  row.job = job;
  const state = row.cells[1].firstChild;
  state.textContent = job.state;
  state.className = `badge ${job.state}`;
  row.cells[4].firstChild.max = job.steps;
  row.cells[4].firstChild.value = job.step;
  const loss = job.spec.kind === "training" && job.observables?.loss;
  const newest = typeof loss === "number" ? ` · loss ${loss.toPrecision(3)}` : "";
  row.cells[5].textContent = `${whole.format(job.step)} / ${whole.format(job.steps)}${newest}`;
  row.classList.toggle("chosen", chosen !== null && chosen.id === job.id);
}

function showWorkers(workers, queue) {
  const simulating = workers.filter((worker) => worker.kind !== "training");
  const total = (key) => simulating.reduce((sum, worker) => sum + worker[key], 0);
  $("running").textContent = whole.format(queue.states.running || 0);
  $("queued").textContent = whole.format(queue.states.queued || 0);
  $("slots").textContent = `${total("busy")} / ${total("slots")}`;
  $("speed").textContent = number.format(total("cell_steps_per_s"));
  $("backlog").textContent = number.format(queue.cell_steps);
  $("workers").replaceChildren(...workers.map((worker) => make("tr", {},
    make("td", {}, worker.name),
    make("td", {}, worker.device),
    make("td", {}, make("span", { class: `badge ${worker.state}` }, worker.state)),
    make("td", {}, `${worker.busy} / ${worker.slots}`),
    make("td", {}, worker.buckets.map(bucketName).join(", ") || "–"),
    make("td", {}, number.format(worker.cell_steps_per_s)))));
  $("no-workers").hidden = workers.length > 0;
  const waiting = queue.states.queued || 0;
  const states = [...new Set(workers.map((worker) => worker.state))].join(", ");
  $("nobody").hidden = waiting === 0 || workers.some((worker) => worker.state === "ready");
  $("nobody").textContent = `${whole.format(waiting)} ${waiting === 1 ? "job waits" : "jobs wait"} and no worker takes any: `
    + (workers.length ? `those that are alive are ${states}.` : "none is alive.");
}

function bucketName(bucket) {
  return [String(bucket.law || "").split("@")[0], bucket.precision, (bucket.grid || []).join("×")].filter(Boolean).join(" ");
}

async function listJobs() {
  const state = $("filter").value;
  const items = [];
  let next = null;
  for (let page = 0; page < pages; page++) {
    const query = new URLSearchParams({ limit: "50" });
    if (state) query.set("state", state);
    if (next) query.set("cursor", next);
    const found = await ask(`v1/jobs?${query}`);
    items.push(...found.items);
    next = found.next;
    if (!next) break;
  }
  $("more").hidden = !next;
  return items;
}

let listing = 0;

/** Lists the jobs again, soon and once for all events that ask for it. */
function listSoon() {
  listing ||= setTimeout(async () => {
    try {
      showJobs(await listJobs());
    } catch (error) {
      say(`no answer: ${error.message}`);
    } finally {
      listing = 0;
    }
  }, LIST_MS);
}

let events = null; // the stream of the list

/** Follows the newest jobs while the page is visible: a browser has few connections to a service. */
function followList() {
  if (document.hidden) {
    events?.close();
    events = null;
  } else if (!events || events.readyState === EventSource.CLOSED) {
    events = new EventSource("v1/events");
    for (const name of ["open", "error"]) events.addEventListener(name, listSoon); // something may have been missed
    for (const name of ["state", "frame", "progress"]) events.addEventListener(name, told);
  }
}

function told(event) {
  const { job: id, ...data } = JSON.parse(event.data);
  const row = rows.get(id);
  if (!row || (data.state && data.state !== row.job.state)) return listSoon(); // new, or no longer in this list
  const observables = { ...row.job.observables, ...data.observables };
  fillRow(row, { ...row.job, ...data, observables });
}

let looking = false;

async function look() {
  if (looking || document.hidden) return;
  looking = true;
  followList();
  if (rows.size > FOLLOWED) listSoon();
  try {
    const [workers, queue] = await Promise.all([ask("v1/workers"), ask("v1/queue")]);
    showWorkers(workers.items, queue);
    say("live");
  } catch (error) {
    say(`no answer: ${error.message}`);
  } finally {
    looking = false;
  }
}

function say(text) {
  if ($("connection").textContent !== text) $("connection").textContent = text;
}
