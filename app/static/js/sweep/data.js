// What the sweep screen knows of a sweep: its axes, and its table by the chosen two of them.

import { send } from "../api.js";
import { digits } from "../dom.js";

const OWN = new Set(["index", "id", "state", "step", "steps", "stopped_at", "error"]);
export const STATISTICS = { mean: "mean", sd: "standard deviation", min: "smallest", max: "largest", median: "median" };
const FEW = 20000; // members whose rows are all read

/** Returns the axes of a sweep: [{key, column}], those that change something. */
export function axesOf(sweep) {
  return Object.keys(sweep.spec.axes || {}).map((key) => ({ key, column: OWN.has(key) ? `axis.${key}` : key }));
}

/** Returns how many values an axis was asked for; the number of members if it is drawn at random. */
export function lengthOf(values, size) {
  if (Array.isArray(values)) return values.length;
  if (values.count) return values.count;
  const range = values.linspace || values.logspace;
  return range ? range[2] : values.choice ? values.choice.length : size;
}

/** Chooses two axes to look at: the longest ones that are no seed. */
export function chosenAxes(sweep) {
  const long = axesOf(sweep).map((axis) => ({ ...axis, n: lengthOf(sweep.spec.axes[axis.key], sweep.size) }));
  const real = long.filter(({ key, n }) => key !== "seed" && n > 1).sort((a, b) => b.n - a.n);
  const [x, y] = real.length ? real : long;
  return { x: x?.key || "", y: y?.key || "" };
}

async function lines(path, params) {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(params)) {
    for (const one of Array.isArray(value) ? value : [value]) if (one !== undefined && one !== null) query.append(key, one);
  }
  const text = await (await send(`${path}?${query}`)).text();
  return text.split("\n").filter(Boolean).map((line) => JSON.parse(line));
}

/**
 * Reads the table by two axes and a facet, averaged over all others.
 * @returns {x, y, facet} axes {name, values, labels}; `cell(f, j, i)` → {mean, sd, min, max, median, members} or null.
 */
export async function phaseDiagram(base, sweep, { x, y, facet, value, window }) {
  const axes = axesOf(sweep);
  const by = [x, y, facet].map((key) => axes.find((axis) => axis.key === key));
  const over = axes.filter((axis) => !by.includes(axis)).map((axis) => axis.key).join(",");
  const rows = await lines(`${base}/table`, {
    format: "jsonl", aggregate: Object.keys(STATISTICS).join(","), over, value, window: window || undefined });
  const [xs, ys, facets] = by.map((axis) => axisOf(axis, rows));
  const cells = new Map(rows.map((row) => [keyOf(by, row), row]));
  const cell = (f, j, i) => {
    const row = cells.get(JSON.stringify([xs.values[i], ys.values[j], facets.values[f]]));
    if (!row) return null;
    const found = { members: row.members };
    for (const name of Object.keys(STATISTICS)) found[name] = row[`${value}.${name}`];
    return found;
  };
  return { x: xs, y: ys, facet: facets, cell };
}

const keyOf = (by, row) => JSON.stringify(by.map((axis) => (axis ? row[axis.column] : null)));

function axisOf(axis, rows) {
  if (!axis) return { key: "", name: "", values: [null], labels: [""], numeric: false };
  const values = [...new Set(rows.map((row) => row[axis.column]))];
  const numeric = values.every((value) => typeof value === "number");
  if (numeric) values.sort((a, b) => a - b);
  const inner = differing(values);
  const name = inner?.length === 1 ? `${axis.key}.${inner[0]}` : axis.key;
  return { key: axis.key, column: axis.column, name, values, labels: labelled(values), numeric };
}

/** Returns values that are objects in JSON; null if one is not. */
function objectsOf(values) {
  try {
    const found = values.map((value) => (typeof value === "string" && value.startsWith("{") ? JSON.parse(value) : null));
    return found.length && found.every(Boolean) ? found : null;
  } catch {
    return null;
  }
}

/** Returns the keys in which objects differ; null if the values are no objects. */
function differing(values) {
  const objects = objectsOf(values);
  if (!objects) return null;
  const keys = [...new Set(objects.flatMap(Object.keys))];
  return keys.filter((key) => new Set(objects.map((one) => JSON.stringify(one[key]))).size > 1);
}

/** Returns short names of values: of objects, only the keys that differ. */
export function labelled(values) {
  const objects = objectsOf(values);
  if (!objects) {
    return values.map((value) => (typeof value === "number" ? digits(value) : String(value ?? "–").replace(/(.*)@([0-9a-f]{6})[0-9a-f]+$/, "$1")));
  }
  const differ = differing(values);
  return objects.map((one) => differ.filter((key) => key in one).map((key) =>
    (typeof one[key] === "object" ? `${key} ${JSON.stringify(one[key])}` : differ.length > 1 ? `${key} ${one[key]}` : `${one[key]}`)).join(", "));
}

/**
 * Reads the rows of the members whose values on some axes are among given ones.
 * @param chosen [{axis, values}]; with `all` rows of other members too where the sweep is small.
 */
export async function memberRows(base, sweep, chosen = [], window = null) {
  const filter = [];
  for (const { axis, values } of chosen) {
    if (axis.numeric && sweep.size > FEW) filter.push(`${axis.column}>=${Math.min(...values)}`, `${axis.column}<=${Math.max(...values)}`);
  }
  const rows = await lines(`${base}/table`, { format: "jsonl", filter, window: window || undefined });
  return rows.filter((row) => chosen.every(({ axis, values }) => !axis.column || values.includes(row[axis.column])));
}
