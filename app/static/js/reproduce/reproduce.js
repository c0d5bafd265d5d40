// Computes a job again from its exported zip, and compares every bit: what `leym reproduce` does, in the browser.

import { get, parse, post, send, url } from "../api.js";
import { openZip } from "./zip.js";

const IRRELEVANT = ["webhook", "deadline_s", "ttl_s", "reuse", "tags"]; // keys that do not decide the results
const RECORDED = ["record", "observe", "keep_states"];
const CHUNK_BYTES = 4 * 2 ** 20; // of frames in one request
const FINAL = ["succeeded", "failed", "cancelled"];

/**
 * @param file Blob of a zip that a job was exported to.
 * @param say called with a sentence for each thing that is done.
 * @param onJob called with the record of each new job, and again as it goes on.
 * @returns {job, original, laws: those that were added, arrays: [{name, kind, frames, identical, first: step of the first difference}]}.
 */
export async function reproduce(file, { say = () => {}, onJob = () => {} } = {}) {
  const archive = await openZip(file);
  if (!archive.has("provenance.json")) throw new RangeError("this zip is no export: it has no provenance.json");
  if (archive.has("zarr.json")) throw new RangeError("this export has its frames as Zarr: export the universe as “Everything (.zip)”");
  const origin = parse(await archive.text("provenance.json"));
  if (origin.kind !== "job") throw new RangeError(`this export is of a ${origin.kind}; only a universe can be reproduced`);
  if (!origin.spec.record?.length && !origin.spec.observe) throw new RangeError("the universe recorded nothing, so there is nothing to compare");
  const chain = [...origin.lineage, origin], laws = {}, added = [], known = {};
  const here = new Set((await get("v1/laws")).items.map(({ name }) => name));
  for (const { law } of chain) laws[law] ||= await findLaw(archive, law, here, added, say);
  const run = (wanted) => compute(archive, wanted, laws[wanted.law], known, { say, onJob });
  for (const [i, above] of chain.slice(0, -1).entries()) {
    const until = chain[i + 1].spec.initial.step;
    const kept = Object.fromEntries(Object.entries(above.spec).filter(([key]) => !RECORDED.includes(key)));
    const interventions = (kept.interventions || []).filter(({ step }) => step < until);
    known[above.id] = (await run({ ...above, spec: { ...kept, steps: until, interventions } })).id;
  }
  const job = await run(origin);
  say("comparing");
  return { job, original: origin.id, laws: added, arrays: await compare(archive, origin, job) };
}

/** Returns name@digest of a law on this service, which gets it from the archive if it lacks it. */
async function findLaw(archive, reference, here, added, say) {
  const [name, digest] = reference.split("@");
  const names = [name, `${name}-${digest.slice(0, 8)}`].filter((known) => here.has(known));
  for (const known of names) {
    const { versions } = await get(`v1/laws/${encodeURIComponent(known)}`);
    if (versions.includes(`${known}@${digest}`)) return `${known}@${digest}`;
  }
  // a further version of a law of that name would change what the name means here
  const free = names.length ? `${name}-${digest.slice(0, 8)}` : name;
  say(`adding the law ${free}`);
  const files = Object.fromEntries(["manifest.json", "weights.safetensors"].map((one) => [one, `laws/${reference}/${one}`]));
  const answer = await send(url(`v1/laws/${encodeURIComponent(free)}`, { digest }), { method: "PUT", headers: { "Content-Type": "application/zip" }, body: await archive.packed(files) });
  const { ref } = await answer.json();
  added.push(ref);
  return ref;
}

/** Submits a job of the file, waits for it, and returns its record. */
async function compute(archive, wanted, law, known, { say, onJob }) {
  const spec = Object.fromEntries(Object.entries(wanted.spec).filter(([key, value]) => value !== null && !IRRELEVANT.includes(key)));
  const { initial } = spec;
  if (initial?.kind === "continue") spec.initial = { ...initial, job: known[initial.job] };
  else if (initial?.kind === "state") spec.initial = { kind: "upload", id: await upload(archive, `${initial.job}@${initial.step}`) };
  else if (initial?.kind === "upload") spec.initial = { kind: "upload", id: await upload(archive, initial.id) };
  spec.interventions = await Promise.all((spec.interventions || []).map(async (one) => (one.state ? { ...one, state: await upload(archive, one.state) } : one)));
  let job = await post("v1/jobs", { ...spec, law, precision: wanted.precision, tags: { reproduces: wanted.id } });
  say(`computing ${job.steps} steps`);
  while (!FINAL.includes(job.state)) {
    onJob(job);
    job = await get(`v1/jobs/${job.id}`, { wait: 1 });
  }
  onJob(job);
  if (job.state !== "succeeded") throw new Error(`the new universe has ${job.state}: ${job.error?.detail || "somebody has cancelled it"}`);
  return job;
}

/** Uploads a start state of the archive, and returns its id. */
async function upload(archive, name) {
  const path = `states/${name}.npy`;
  if (!archive.has(path)) throw new RangeError(`the start state ${name} was gone when the file was made: it cannot be reproduced`);
  const answer = await send("v1/states", { method: "POST", headers: { "Content-Type": "application/octet-stream" }, body: await archive.bytes(path) });
  return (await answer.json()).id;
}

async function compare(archive, origin, job) {
  const found = [];
  for (const { field } of origin.spec.record || []) found.push(await compareField(archive, field, job));
  if (!archive.has("observables.csv")) return found;
  const [head, ...rows] = (await archive.text("observables.csv")).trim().split(/\r?\n/).map((line) => line.split(","));
  const here = await get(`v1/jobs/${job.id}/observables`);
  const at = head.indexOf("step");
  for (const [column, name] of head.entries()) {
    if (name === "step") continue;
    // the shortest text of a number names its bits; a number that is none is empty there and null here
    const first = rows.findIndex((row, i) => Number(row[at]) !== here.step[i] || !same(row[column], here[name]?.[i]));
    const complete = here.step.length === rows.length;
    found.push({ name, kind: "observable", frames: rows.length, identical: first < 0 && complete, first: first < 0 ? null : Number(rows[first][at]) });
  }
  return found;
}

const same = (theirs, ours) => (theirs === "" || theirs.toLowerCase() === "nan" ? ours === null : ours !== null && Object.is(Number(theirs), Number(ours)));

/** Compares the frames of a field byte by byte, in pieces. */
async function compareField(archive, field, job) {
  const steps = [...new BigInt64Array(npy(await archive.bytes(`steps/${field}.npy`)).body.slice().buffer)].map(Number);
  const theirs = npy(await archive.bytes(`frames/${field}.npy`));
  const size = theirs.body.length / steps.length, most = Math.max(1, Math.floor(CHUNK_BYTES / size));
  const found = { name: field, kind: "field", frames: steps.length, identical: true, first: null };
  for (let i = 0; i < steps.length && found.identical; i += most) {
    const part = steps.slice(i, i + most);
    const path = url(`v1/jobs/${job.id}/frames/${encodeURIComponent(field)}`, { format: "npy", start: part[0], stop: part.at(-1) + 1 });
    const ours = npy(new Uint8Array(await (await send(path)).arrayBuffer()));
    const wanted = theirs.body.subarray(i * size, (i + part.length) * size);
    const byte = ours.descr === theirs.descr && ours.body.length === wanted.length ? wanted.findIndex((one, k) => one !== ours.body[k]) : 0;
    if (byte >= 0) Object.assign(found, { identical: false, first: part[Math.floor(byte / size)] });
  }
  return found;
}

/** Splits an npy file: {descr: its dtype, body: its bytes}. */
function npy(bytes) {
  const data = new DataView(bytes.buffer, bytes.byteOffset), long = bytes[6] >= 2;
  const start = (long ? 12 : 10) + (long ? data.getUint32(8, true) : data.getUint16(8, true));
  return { descr: /'descr': '([^']+)'/.exec(new TextDecoder("latin1").decode(bytes.subarray(0, start)))?.[1], body: bytes.subarray(start) };
}
