// Frames of a job, of a member of a sweep or of a shared link: lists, single frames with a cache, and live ones.

import { get, send, url } from "./api.js";

const CHUNK_BYTES = 2 ** 20; // of one request
const CACHE_BYTES = 96 * 2 ** 20;
const RETRY_MS = 1500;
const ARRAYS = { "|u1": Uint8Array, "<f4": Float32Array, "<c8": Float32Array, "<f8": Float64Array, "<i8": BigInt64Array };

/** Decodes an npy file: {shape, data, complex}. float16 becomes float32; complex64 has its two parts next to each other. */
export function decodeNpy(buffer) {
  const bytes = new Uint8Array(buffer);
  const long = bytes[6] >= 2;
  const view = new DataView(buffer);
  const length = long ? view.getUint32(8, true) : view.getUint16(8, true);
  const start = (long ? 12 : 10) + length;
  const header = new TextDecoder("latin1").decode(bytes.subarray(long ? 12 : 10, start));
  const kind = /'descr': '([^']+)'/.exec(header)[1];
  const shape = (/'shape': \(([^)]*)\)/.exec(header)[1].match(/\d+/g) || []).map(Number);
  if (kind === "<f2") return { shape, data: halves(new Uint16Array(buffer.slice(start))), complex: false };
  const type = ARRAYS[kind];
  if (!type) throw new TypeError(`numbers of the type ${kind} are not understood`);
  const data = start % type.BYTES_PER_ELEMENT ? new type(buffer.slice(start)) : new type(buffer, start);
  return { shape, data, complex: kind === "<c8" };
}

let table = null; // of all 65,536 halves

function halves(codes) {
  if (!table) {
    table = new Float32Array(65536);
    for (let code = 0; code < 65536; code++) {
      const sign = code & 0x8000 ? -1 : 1, exponent = (code >> 10) & 31, part = code & 1023;
      table[code] = sign * (exponent === 31 ? (part ? NaN : Infinity)
        : exponent ? 2 ** (exponent - 15) * (1 + part / 1024) : 2 ** -14 * (part / 1024));
    }
  }
  return Float32Array.from(codes, (code) => table[code]);
}

/** Decodes one message of a stream at an offset: {frame: {job, field, step, shape, range, data}, end}. */
export function decodeMessage(buffer, offset = 0) {
  const length = new DataView(buffer).getUint32(offset, true);
  const start = offset + 4 + length;
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, offset + 4, length)));
  const count = header.shape.reduce((product, side) => product * side, 1);
  if (header.dtype === "u8") return { frame: { ...header, data: new Uint8Array(buffer, start, count) }, end: start + count };
  const size = header.dtype === "f16" ? 2 : 4;
  const part = buffer.slice(start, start + count * size);
  const data = size === 2 ? halves(new Uint16Array(part)) : new Float32Array(part);
  return { frame: { ...header, data }, end: start + count * size };
}

/** Decodes messages that stand one after another, as those of `GET /v1/tiles`. */
export function decodeMessages(buffer) {
  const frames = [];
  for (let at = 0; at < buffer.byteLength;) {
    const { frame, end } = decodeMessage(buffer, at);
    frames.push(frame);
    at = end;
  }
  return frames;
}

/** The recorded frames below one address, for example `v1/jobs/ID`. */
export class FrameSource {
  constructor(base) {
    this.base = base;
    this.before = []; // addresses of the jobs that its job continues, the nearest first: their frames come first
    this.earlier = null; // what they have recorded
    this.list = []; // as the service describes the fields, and the first step of its `own` frames
    this.cache = new Map(); // "field step" -> frame, the least recently used first
    this.bytes = 0;
    this.asked = new Map(); // "field chunk" -> promise
  }

  /** Returns the recorded fields, read anew, and after them the views of them, which have `made_from`. */
  async fields() {
    const { items, views = [] } = await get(`${this.base}/frames`);
    const list = [...items, ...views].map((field) => ({ ...field, own: field.steps.start }));
    if (this.before.length) {
      this.earlier ||= Promise.all(this.before.map((base) => get(`${base}/frames`).catch(() => null))); // null: deleted
      const earlier = await this.earlier;
      for (const { name, steps } of list) steps.start = firstStep(name, steps, earlier);
    }
    this.list = list;
    return this.list;
  }

  /** Returns {start, stop, stride} of the steps of a field that can be read; `stop` is exclusive. */
  steps(name) {
    return this.list.find((field) => field.name === name)?.steps || { start: 0, stop: 0, stride: 1 };
  }

  /** Says that frames up to a step are there, as an event has told. */
  grow(name, step) {
    for (const field of this.list) {
      const { steps } = field;
      if ((field.name === name || field.made_from?.includes(name)) && step + steps.stride > steps.stop) steps.stop = step + steps.stride;
    }
  }

  /** Returns the recorded step of a field at or before a step, within what can be read. */
  nearest(name, step) {
    const { start, stop, stride } = this.steps(name);
    if (stop <= start) return null;
    const last = start + Math.floor((stop - 1 - start) / stride) * stride;
    return Math.min(last, Math.max(start, start + Math.floor((step - start) / stride) * stride));
  }

  /** Returns a frame if it is at hand. */
  cached(name, step) {
    const key = `${name} ${step}`;
    const frame = this.cache.get(key);
    if (frame) { this.cache.delete(key); this.cache.set(key, frame); }
    return frame;
  }

  /** Returns the frame {field, step, shape, data, complex} of a recorded step, with its neighbours in one request. */
  async frame(name, step) {
    const found = this.cached(name, step);
    if (found) return found;
    const { start, stop, stride } = this.steps(name);
    const [, ...cell] = this.list.find((field) => field.name === name)?.shape || [0, 1];
    const most = name === "pca" ? 16 * CHUNK_BYTES : CHUNK_BYTES; // its colours are those of all frames of a request
    const per = Math.max(1, Math.floor(most / (4 * cell.reduce((product, side) => product * side, 1))));
    const chunk = Math.floor((step - start) / stride / per);
    const from = start + chunk * per * stride;
    const to = Math.min(stop, from + per * stride);
    const key = `${name} ${from} ${to}`;
    if (!this.asked.has(key)) this.asked.set(key, this.load(name, from, to, stride).finally(() => this.asked.delete(key)));
    await this.asked.get(key);
    const loaded = this.cached(name, step);
    if (!loaded) throw new RangeError(`${name} has no frame at step ${step}`);
    return loaded;
  }

  async load(name, from, to, stride) {
    const path = url(`${this.base}/frames/${encodeURIComponent(name)}`, {
      format: "npy", start: from, stop: to, lineage: from < (this.list.find((field) => field.name === name)?.own ?? 0) ? 1 : undefined });
    const { shape: [count, ...shape], data, complex } = decodeNpy(await (await send(path)).arrayBuffer());
    const size = data.length / Math.max(1, count);
    for (let i = 0; i < count; i++) {
      this.keep({ field: name, step: from + i * stride, shape, complex, data: data.subarray(i * size, (i + 1) * size) });
    }
  }

  /** Says whether a field's timeline begins in the jobs that this one continues. */
  joined(name) {
    return this.steps(name).start < (this.list.find((field) => field.name === name)?.own ?? 0);
  }

  /** Asks for frames that will be shown soon, without waiting. */
  prefetch(name, steps) {
    for (const step of steps) if (!this.cached(name, step)) this.frame(name, step).catch(() => null);
  }

  keep(frame) {
    const key = `${frame.field} ${frame.step}`;
    if (this.cache.has(key)) return;
    this.cache.set(key, frame);
    this.bytes += frame.data.byteLength;
    for (const [oldest, one] of this.cache) {
      if (this.bytes <= CACHE_BYTES) break;
      this.cache.delete(oldest);
      this.bytes -= one.data.byteLength;
    }
  }

  /**
   * Follows a field over a WebSocket, again and again until its job has ended.
   * @param onFrame called with each frame, the newest at most `fps` times a second.
   * @param onEnd called with {state, step}.
   * @param onLost called when the connection breaks, before it is tried again.
   * @returns a function that ends it.
   */
  live(name, { fps = 20, start = 0, onFrame, onEnd = () => {}, onLost = () => {} }) {
    let socket = null, timer = 0, closed = false, next = start;
    const open = () => {
      const address = new URL(url(`${this.base}/stream`, { field: name, fps, start: next }), document.baseURI);
      address.protocol = address.protocol.replace("http", "ws");
      socket = new WebSocket(address);
      socket.binaryType = "arraybuffer";
      socket.onmessage = ({ data }) => {
        if (typeof data === "string") {
          const told = JSON.parse(data);
          if (told.type === "end") { closed = true; onEnd(told); }
          return;
        }
        const { frame } = decodeMessage(data);
        next = frame.step + 1;
        this.keep(frame);
        this.grow(name, frame.step);
        onFrame(frame);
      };
      socket.onclose = () => {
        if (closed) return;
        onLost();
        timer = setTimeout(open, RETRY_MS);
      };
    };
    open();
    return () => { closed = true; clearTimeout(timer); socket?.close(); };
  }
}

/** Returns the first step of a field's timeline: as far back as earlier jobs have its frames, without a gap. */
export function firstStep(name, { start, stride }, earlier) {
  for (const found of earlier) {
    const steps = found && [...found.items, ...(found.views || [])].find((field) => field.name === name)?.steps;
    const fits = steps && steps.stride === stride && (start - steps.start) % stride === 0 && steps.start < start && steps.stop >= start;
    if (!fits) break;
    ({ start } = steps);
  }
  return start;
}

const UNIT = ["channel_power", "channel_entropy", "coherence", "activity", "density", "rgb", "hsv", "pca"];
const RANGES = { ...Object.fromEntries(UNIT.map((name) => [name, [0, 1]])), real: [-1, 1], imag: [-1, 1], spectrum: [-8, 0] };
const COLOURS = new Set(["rgb", "hsv", "pca"]); // whose cells are red, green, blue

/** Says whether a field's cells are colours. */
export const isColour = (name) => COLOURS.has(name);

/** Returns what is known of a field: cyclic or not, and the range of its values; null for one that frames tell. */
export function looks(name) {
  if (name.startsWith("phase")) return { cyclic: true, range: [-Math.PI, Math.PI], map: "twilight_shifted" };
  return { cyclic: false, range: RANGES[name] || null, map: name === "spectrum" ? "inferno" : "viridis" };
}

/** Returns the numbers of a frame that are drawn: [H, W], or [H, W, 3] of a colour. `channel` chooses one of several. */
export function plane(frame, channel = 0) {
  const [height, width, depth = 1] = frame.shape;
  if (depth === 1 && !frame.complex) return { data: frame.data, height, width, rgb: false };
  if (COLOURS.has(frame.field) && depth === 3) return { data: frame.data, height, width, rgb: true };
  const out = new Float32Array(height * width);
  const at = Math.min(channel, depth - 1);
  for (let i = 0; i < out.length; i++) {
    if (frame.complex) out[i] = Math.hypot(frame.data[2 * (i * depth + at)], frame.data[2 * (i * depth + at) + 1]);
    else out[i] = frame.data[i * depth + at];
  }
  return { data: out, height, width, rgb: false };
}

/** Returns [low, high] of the finite values. */
export function extent(data) {
  let low = Infinity, high = -Infinity;
  for (const value of data) {
    if (value < low) low = value;
    if (value > high && value !== Infinity) high = value;
  }
  return low <= high ? [low, high] : [0, 1];
}
