// What Fork, Extend and Paint send: bodies of requests, made from a job's record. No document here.

import { get, post } from "../api.js";

/** Returns the gamma of a job as a schedule [[step, value], …]. */
export const schedule = (gamma) => (Array.isArray(gamma) ? gamma : [[0, gamma]]);

/** Returns the gamma that acts at a step. */
export function gammaAt(gamma, step) {
  let found = schedule(gamma)[0][1];
  for (const [from, value] of schedule(gamma)) if (from <= step) found = value;
  return found;
}

/** Reads a gamma as it is typed: a number, or "0.01, 500: 0.05" with values from a step on. Raises SyntaxError. */
export function readGamma(text) {
  const points = text.split(",").map((part) => part.trim()).filter(Boolean).map((part, i) => {
    const [from, value] = part.includes(":") ? part.split(":").map(Number) : [i ? NaN : 0, Number(part)];
    if (!Number.isFinite(from) || !Number.isFinite(value)) throw new SyntaxError(`gamma: “${part}” is no number and no “step: value”`);
    return [from, value];
  });
  if (!points.length) throw new SyntaxError("gamma: a number is needed");
  return points.length === 1 && points[0][0] === 0 ? points[0][1] : points;
}

/** Writes a gamma as `readGamma` reads it. */
export const writeGamma = (gamma) => (Array.isArray(gamma)
  ? gamma.map(([step, value], i) => (i || step ? `${step}: ${value}` : String(value))).join(", ") : String(gamma));

/** Returns the newest kept state at or before a step; null if there is none. */
export const stateBefore = (states, step) => states.filter((state) => state.step <= step).at(-1) || null;

/**
 * Returns the request for a universe that is this one up to a step and another one from there: {path, body, from}.
 *
 * It goes on from the newest kept state before the step, and otherwise from the start: what lies between is computed
 * again, and is the same. `changes`: {gamma, steps, strokes: interventions at the step}.
 */
export function forkRequest(job, states, step, { gamma = null, steps = null, strokes = [] } = {}) {
  const spec = job.spec;
  const state = stateBefore(states, step);
  const continues = spec.initial.kind === "continue"; // then its own start is a kept state of its parent
  const from = state ? state.step : continues ? spec.initial.step : 0;
  const body = {};
  const last = steps ?? spec.steps;
  if (gamma !== null) body.gamma = changedGamma(spec.gamma, gamma, from, step);
  if (strokes.length) {
    const earlier = (spec.interventions || []).filter((one) => one.step >= from && one.step < last);
    body.interventions = [...earlier, ...strokes.map((one) => ({ ...one, step }))];
  }
  if (state) return { path: `v1/jobs/${job.id}/fork`, body: { ...body, step: from, steps: last }, from };
  const copy = { ...spec, law: job.law, precision: job.precision, ...body, steps: last };
  copy.interventions = (copy.interventions || []).filter((one) => one.step < last); // a shorter universe reaches fewer
  if (Array.isArray(copy.gamma)) copy.gamma = copy.gamma.filter(([at]) => at < last);
  for (const key of ["deadline_s", "webhook", "reuse"]) delete copy[key];
  for (const key of Object.keys(copy)) if (copy[key] === null) delete copy[key];
  if (!continues) return { path: "v1/jobs", body: copy, from };
  const { initial, ...more } = copy;
  return { path: `v1/jobs/${initial.job}/fork`, body: { ...more, step: from }, from };
}

/** Returns a gamma that is the old one up to a step, and the new one (a number or a schedule from there) afterwards. */
function changedGamma(old, wanted, from, step) {
  const points = schedule(wanted);
  if (from === step && points.length === 1) return points[0][1];
  const before = schedule(old).filter(([at]) => at < step);
  const after = [[step, gammaAt(wanted, step)], ...points.filter(([at]) => at > step)];
  return step === 0 ? (after.length === 1 ? after[0][1] : after) : [...before, ...after];
}

/** Applies strokes: to the running job, or to a fork of an ended one. Returns the job to look at. */
export async function paintAndRun(job, states, step, strokes, running) {
  if (running) {
    for (const stroke of strokes) await post(`v1/jobs/${job.id}/interventions`, stroke);
    return job;
  }
  const length = job.steps - job.from_step;
  const { path, body } = forkRequest(job, states, step, { strokes, steps: step < job.steps ? job.steps : step + length });
  return post(path, body);
}

/** Returns all states from which other jobs can go on. */
export async function keptStates(id) {
  try {
    return (await get(`v1/jobs/${id}/states`)).items;
  } catch (error) {
    if (error.status === 410 || error.status === 404) return [];
    throw error;
  }
}

const DEFAULTS = { seed: 0, gamma: 0.01, precision: "auto", reuse: false, priority: 4 };

/** Returns a spec without what is so by default. */
export function sparse(spec) {
  const clean = (value) => {
    if (Array.isArray(value)) return value.map(clean);
    if (!value || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).filter(([, one]) => one !== null).map(([key, one]) => [key, clean(one)]));
  };
  return Object.fromEntries(Object.entries(clean(spec)).filter(([key, value]) =>
    DEFAULTS[key] !== value && !(Array.isArray(value) && !value.length) && !(typeof value === "object" && !Array.isArray(value) && !Object.keys(value).length)));
}

const numbers = (json) => json.replace(/"#(-?\d{16,20})"/g, "$1");

/** Returns a command that submits the same universe. */
export function asCurl(job) {
  const body = numbers(JSON.stringify({ ...sparse(job.spec), law: job.law })).replaceAll("'", "'\\''");
  const address = new URL("v1/jobs", document.baseURI).href;
  return `curl -X POST ${address} \\\n  -H 'Content-Type: application/json' \\\n  -d '${body}'`;
}

/** Returns Python that submits the same universe. */
export function asPython(job) {
  const { law: _, grid, steps, ...rest } = sparse(job.spec);
  const python = (value) => numbers(JSON.stringify(value)).replace(/"(?:[^"\\]|\\.)*"|\b(?:true|false|null)\b/g,
    (token) => ({ true: "True", false: "False", null: "None" })[token] || token).replace(/(?<=[,:])(?=\S)/g, " ");
  const more = Object.entries(rest).map(([key, value]) => `,\n    ${key}=${python(value)}`).join("");
  const service = document.baseURI.split(/[#?]/)[0].replace(/\/$/, "");
  return `import leym\n\nclient = leym.Client("${service}")\njob = client.submit(\n    "${job.law}", (${grid.join(", ")}), ${steps}${more},\n)\njob.wait()`;
}
