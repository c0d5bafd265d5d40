// Makes the request from the form of a new universe: a job, or a sweep if any key has several values.

import { readGammas, readValues } from "./values.js";

export const STARTS = {
  law: { words: "the law's own", keys: [] },
  complex_noise: { words: "complex noise", keys: [["strength", "0.1", "of the phases: theta ~ strength N(0, 1)"]] },
  smooth: { words: "smooth random fields", keys: [["scale", "4", "standard deviation of the filter, in cells"]] },
  random: { words: "random unit vectors", keys: [] },
  seed: { words: "one living cell", keys: [] },
  zeros: { words: "zeros", keys: [] },
};

// what is observed when no names are given, and what may be added
const DEFAULTS = ["channel_entropy", "channel_entropy_sd", "coherence", "coherence_sd", "activity", "activity_sd", "overlap"];
export const MEASURES = ["correlation_length", "peak_wavenumber", "multiscale_complexity", "domain_walls", "vortices", "antivortices"];

/** Raised with the name of the field of the form: {key, message}. */
export class Wrong extends Error {
  constructor(key, message) { super(message); this.key = key; }
}

/**
 * Returns {job} or {sweep} for a form's values (all text).
 * @param form {law, height, width, steps, seed, gamma, start, precision, record: {field: every}, observe, keep, name…}
 * @param law the law's card, for its own start. @param base keys of a spec that the form does not show.
 */
export function requestOf(form, law, base = {}) {
  const spec = { ...base }, axes = {};
  const take = (key, field, read) => {
    let found;
    try { found = read(form[field] ?? ""); } catch (error) { throw new Wrong(field, error.message); }
    if ("axis" in found) axes[key] = found.axis; else spec[key] = found.value;
  };
  const laws = form.law.split(",").map((one) => one.trim()).filter(Boolean);
  if (!laws.length) throw new Wrong("law", "law: choose one");
  if (laws.length > 1) axes.law = laws; else spec.law = laws[0];
  const side = (name) => {
    const found = whole(form[name], name === "height" ? "rows" : "columns");
    return found;
  };
  spec.grid = [side("height"), side("width")];
  take("steps", "steps", (text) => readValues(text, { name: "steps", whole: true }));
  take("seed", "seed", (text) => readValues(text, { name: "seed", whole: true }));
  take("gamma", "gamma", readGammas);
  delete spec.initial;
  const start = form.start === "kept" ? null : form.start === "law" ? law?.start : { kind: form.start };
  if (form.start === "kept") spec.initial = base.initial;
  else if (start) spec.initial = { ...start };
  for (const [key] of STARTS[form.start]?.keys || []) {
    const found = readIn(`initial.${key}`, form[`initial.${key}`]);
    if ("axis" in found) axes[`initial.${key}`] = found.axis; else spec.initial[key] = found.value;
  }
  if (form.precision !== "auto") spec.precision = form.precision; else delete spec.precision;
  spec.record = Object.entries(form.record).map(([field, every]) => ({ field, every: whole(every, `record ${field}`, "record") }));
  const names = base.observe?.names || (form.measures?.length ? DEFAULTS : []);
  const more = [...names, ...(form.measures || []).filter((name) => !names.includes(name))];
  if (form.observe) spec.observe = { ...(more.length ? { names: more } : {}), every: whole(form.observe, "observe", "observe") };
  else delete spec.observe;
  if (form.keep) spec.keep_states = { every: whole(form.keep, "keep states", "keep") };
  else delete spec.keep_states;
  if (!Object.keys(axes).length) return { job: spec };
  return { sweep: { base: spec, axes } };
}

function readIn(key, text) {
  try { return readValues(text ?? "", { name: key }); } catch (error) { throw new Wrong(key, error.message); }
}

function whole(text, name, key = name === "rows" ? "height" : name === "columns" ? "width" : name) {
  try {
    const found = readValues(String(text), { name, whole: true });
    if (!("value" in found)) throw new SyntaxError(`${name}: one whole number is needed`);
    return found.value;
  } catch (error) { throw new Wrong(key, error.message); }
}

const FIELDS = { grid: "height", initial: "start", keep_states: "keep", record: "record", observe: "observe", interventions: "interventions" };

/** Returns which field of the form a refusal is about, by its pointer or else by the first word of its sentence. */
export function fieldOf({ pointer = "", detail = "" }) {
  const parts = pointer.split("/").filter((part) => part && !["job", "sweep", "base", "axes"].includes(part));
  if (!parts.length) parts.push(...(/^(?:(?:job|sweep|base|axes)\.)*([\w.]+)/.exec(detail)?.[1] || "").split("."));
  if (!parts.length || !parts[0]) return null;
  const dotted = parts.join(".");
  for (const key of ["initial.strength", "initial.scale"]) if (dotted.startsWith(key)) return key;
  return FIELDS[parts[0]] || parts[0];
}
