// The filter language of walls: `law:spirals state:running gamma>0.02 activity<0.1 tag:project=x starred some words`.

const PART = /(-?)(?:([\w.]+)(<=|>=|[:=<>]))?(?:"([^"]*)"|(\S+))/g;
const STATES = ["queued", "running", "paused", "succeeded", "failed", "cancelled"];

/** Reads a filter as [{key, op, value, not}]; words without a key have the key "". */
export function read(text) {
  return [...text.matchAll(PART)].map(([, not, key = "", op = ":", quoted, bare]) =>
    ({ not: Boolean(not), key: key.toLowerCase(), op, value: (quoted ?? bare).toLowerCase() }));
}

/** Returns the parts of a filter that the service understands, as parameters of `GET /v1/jobs`. */
export function forService(parts) {
  const found = {};
  for (const { not, key, op, value } of parts) {
    if (not || (op !== ":" && op !== "=")) continue;
    if (key === "state" && STATES.includes(value)) found.state = value;
    if (key === "law") found.law = value;
    if (key === "tag" && /[:=]/.test(value)) found.tag = value;
    if (!key && value === "starred") found.starred = 1;
  }
  return found;
}

/** Returns the value of a key of a job: of its record, spec, observables or tags. */
export function valueOf(job, key) {
  if (key === "law") return job.law;
  if (key === "grid") return job.spec.grid?.[0];
  if (key === "gamma") return Array.isArray(job.spec.gamma) ? job.spec.gamma[0][1] : job.spec.gamma;
  if (key === "initial") return job.spec.initial?.kind;
  if (key === "field") return (job.spec.record || []).map((one) => one.field).join(" ");
  if (job.observables && key in job.observables) return job.observables[key];
  if (job.tags && key in job.tags) return job.tags[key];
  const spec = key.split(".").reduce((found, part) => found?.[part], job.spec);
  return job[key] ?? spec;
}

/** Says whether a job matches all parts of a filter. */
export function matches(job, parts) {
  return parts.every((part) => matchesOne(job, part) !== part.not);
}

function matchesOne(job, { key, op, value }) {
  if (!key) {
    if (value === "starred") return Boolean(job.starred);
    if (STATES.includes(value)) return job.state === value;
    return [job.law, job.id, job.name, job.note, job.spec.initial?.kind, ...Object.entries(job.tags || {}).flat()]
      .some((text) => String(text ?? "").toLowerCase().includes(value));
  }
  if (key === "tag") {
    const [name, wanted] = value.split(/[:=]/);
    return wanted === undefined ? name in (job.tags || {}) : String(job.tags?.[name] ?? "").toLowerCase() === wanted;
  }
  const found = valueOf(job, key);
  if (found === undefined || found === null) return false;
  if (op === ":") return typeof found === "number" ? found === Number(value) : String(found).toLowerCase().includes(value);
  if (op === "=") return typeof found === "number" ? found === Number(value) : String(found).toLowerCase() === value;
  const [a, b] = [Number(found), Number(value)];
  return { "<": a < b, ">": a > b, "<=": a <= b, ">=": a >= b }[op];
}

/** Returns jobs in an order: "newest", or by an observable or key, the largest first ("-key": the smallest). */
export function sorted(jobs, order) {
  if (!order || order === "newest") return jobs;
  const down = !order.startsWith("-"), key = order.replace(/^-/, "");
  const rank = (job) => { const value = valueOf(job, key); return typeof value === "number" ? value : null; };
  return [...jobs].sort((a, b) => {
    const [x, y] = [rank(a), rank(b)];
    if (x === null || y === null) return (x === null) - (y === null);
    return down ? y - x : x - y;
  });
}
