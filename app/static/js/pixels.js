// Frames of many universes at once, and their pictures on small canvases: for thumbnails and walls. A browser has too few
// WebGL contexts for a hundred viewers.

import { send, url } from "./api.js";
import { CYCLIC, colours } from "./colormaps.js";
import { decodeNpy } from "./frames.js";
import { paint as pixelsOf } from "./viewer.js";

const KEPT = 240; // answers

const kept = new Map(); // address -> {promise, done}, the one used last at the end

/**
 * Reads an array, or gives the one that was read before: {shape, data, headers}.
 * @param age how far results are that still grow: what was read at another age is read again. "" once they are complete.
 */
export function read(path, params, age = "") {
  const key = `${age} ${url(path, params)}`;
  const before = kept.get(key);
  if (before) {
    kept.delete(key);
    kept.set(key, before);
    return before.promise;
  }
  const entry = { done: false };
  entry.promise = send(url(path, params)).then(async (answer) => ({ ...decodeNpy(await answer.arrayBuffer()), headers: answer.headers }));
  kept.set(key, entry);
  entry.promise.then(() => { entry.done = true; }, () => { entry.done = true; setTimeout(() => kept.delete(key), 2000); });
  if (kept.size > KEPT) kept.delete(kept.keys().next().value);
  return entry.promise;
}

const asked = (base, { field, step, members, side }) => [`${base}/atlas`, { field, step, members: ranges(members), side, format: "npy" }];

/** Reads one frame of each of some members of a sweep: {shape: [n, h, w] or [n, h, w, d], data, headers}. */
export const atlas = (base, query, age = "") => read(...asked(base, query), age);

/** Returns the age of a sweep's results, for `atlas`. */
export const ageOf = ({ state, progress }) => (["succeeded", "failed", "cancelled"].includes(state) ? "" : String(progress.done));

/** Tells whether an atlas is at hand; asks for it if it is not. A clock that is `ready` only then skips nothing. */
export function ready(base, query, age = "") {
  const [path, params] = asked(base, query);
  const entry = kept.get(`${age} ${url(path, params)}`);
  if (!entry) read(path, params, age).catch(() => null);
  return Boolean(entry?.done);
}

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

/** Cuts tile `i` out of an atlas, as a frame that `plane` of frames.js takes. */
export function tile({ shape: [, ...shape], data, complex }, i, field) {
  const size = shape.reduce((product, side) => product * side, complex ? 2 : 1);
  return { field, shape, complex, data: data.subarray(i * size, (i + 1) * size) };
}

/** Tells whether a tile has no frame yet. */
export const isEmpty = ({ data }) => !Number.isFinite(data[0]) && !Number.isFinite(data[data.length - 1]);

const tables = new Map();

/** Paints a `plane` of frames.js on a canvas, one pixel per cell. */
export function paint(canvas, plane, map, range) {
  if (!tables.has(map)) tables.set(map, colours(map));
  const { width, height } = plane;
  if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
  const pixels = pixelsOf(plane, tables.get(map), range, CYCLIC.has(map));
  canvas.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(pixels.buffer), width, height), 0, 0);
}
