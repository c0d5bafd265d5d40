// Arrays of the service (npy) and their pictures on small canvases: for walls, thumbnails and comparisons.

import { send, url } from "./api.js";
import { colours } from "./colormaps.js";

const KEPT = 240; // answers

const kept = new Map(); // address -> promise of an array, the one used last at the end

let halves = null; // value of every float16

function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Decodes an npy file: {shape, values: Float32Array}; complex values become pairs, with a last axis of 2. */
export function decode(buffer) {
  const view = new DataView(buffer);
  const length = view.getUint16(8, true);
  const header = new TextDecoder().decode(new Uint8Array(buffer, 10, length));
  const kind = /'descr': '([^']+)'/.exec(header)[1];
  const shape = /'shape': \(([^)]*)\)/.exec(header)[1].split(",").filter((part) => part.trim()).map(Number);
  const start = 10 + length;
  if (kind === "<f2") {
    halves ||= Float32Array.from({ length: 65536 }, (_, bits) => half(bits));
    return { shape, values: Float32Array.from(new Uint16Array(buffer, start), (bits) => halves[bits]) };
  }
  if (kind === "<f4") return { shape, values: new Float32Array(buffer, start) };
  if (kind === "<c8") return { shape: [...shape, 2], values: new Float32Array(buffer, start) };
  throw new Error(`arrays of ${kind} cannot be shown`);
}

/** Reads an array, or gives the one that was read before: {shape, values, headers}. `fresh`: of results that still grow. */
export function read(path, params, fresh = false) {
  const address = url(path, params);
  const before = kept.get(address);
  if (before && !fresh) {
    kept.delete(address);
    kept.set(address, before);
    return before;
  }
  const found = send(address).then(async (answer) => ({ ...decode(await answer.arrayBuffer()), headers: answer.headers }));
  kept.set(address, found);
  found.catch(() => kept.delete(address));
  if (kept.size > KEPT) kept.delete(kept.keys().next().value);
  return found;
}

/** Reads one frame of each of some members of a sweep: {shape: [n, h, w] or [n, h, w, d], values, headers}. */
export const atlas = (base, { field, step, members, side }, fresh = false) =>
  read(`${base}/atlas`, { field, step, members: ranges(members), side, format: "npy" }, fresh);

/** Reads one frame of a job: {shape: [1, h, w], values, headers}. */
export const frame = (base, field, step) =>
  read(`${base}/frames/${encodeURIComponent(field)}`, { format: "npy", start: step, stop: step + 1 });

/** Returns indices as text, `0-4,9`; undefined for none. */
export function ranges(indices) {
  if (!indices) return undefined;
  const parts = [];
  for (const index of [...indices].sort((a, b) => a - b)) {
    const last = parts.at(-1);
    if (last && last[1] === index - 1) last[1] = index;
    else parts.push([index, index]);
  }
  return parts.map(([first, last]) => (first === last ? first : `${first}-${last}`)).join(",");
}

/** Returns the indices of a text of `ranges`. */
export const unranges = (text) => (text || "").split(",").filter(Boolean).flatMap((part) => {
  const [first, last] = part.split("-").map(Number);
  return Array.from({ length: (last ?? first) - first + 1 }, (_, i) => first + i);
});

/** Returns how a field is shown unless somebody chooses otherwise: {map, range} with null for the range of the values. */
export function look(field) {
  if (["phase", "arg"].includes(field)) return { map: "twilight", range: [-Math.PI, Math.PI] };
  if (["channel_power", "channel_entropy", "coherence", "activity", "density", "rgb"].includes(field)) return { map: "viridis", range: [0, 1] };
  return { map: "viridis", range: null };
}

/** Returns the smallest and largest finite value; [0, 1] if there is none. */
export function extent(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) if (Number.isFinite(value)) { low = Math.min(low, value); high = Math.max(high, value); }
  return low <= high ? [low, high] : [0, 1];
}

/** Cuts frame `i` out of an array [n, h, w(, d)]: {values, width, height}, the channel `channel` of a field with channels. */
export function cut({ shape, values }, i, channel = 0) {
  const [, height, width, depth = 1] = shape;
  const size = height * width;
  const part = values.subarray(i * size * depth, (i + 1) * size * depth);
  if (depth === 1) return { values: part, width, height };
  return { values: Float32Array.from({ length: size }, (_, k) => part[k * depth + Math.min(channel, depth - 1)]), width, height };
}

const tables = new Map();

/** Returns the colours of a map as 256 numbers that an Uint32Array over pixels takes. */
function packed(name) {
  if (!tables.has(name)) {
    const rgb = colours(name);
    tables.set(name, Uint32Array.from({ length: 256 }, (_, i) => 0xff000000 | (rgb[3 * i + 2] << 16) | (rgb[3 * i + 1] << 8) | rgb[3 * i]));
  }
  return tables.get(name);
}

/** Paints values on a canvas, one pixel per cell; NaN stays transparent. */
export function paint(canvas, { values, width, height }, map, [low, high]) {
  if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const table = packed(map);
  const scale = 256 / (high - low || 1);
  for (let i = 0; i < pixels.length; i++) {
    const level = (values[i] - low) * scale;
    if (level === level) pixels[i] = table[level < 0 ? 0 : level > 255 ? 255 : level | 0];
  }
  context.putImageData(image, 0, 0);
}
