// Living pictures of many jobs: a few frames of each that has ended, the newest of each that runs; few requests for all.

import { colours } from "../colormaps.js";
import { send, url } from "../api.js";
import { decodeMessages, extent, looks, plane } from "../frames.js";
import { paint } from "../viewer.js";

const BATCH = 12; // ended jobs of one request
const FRAMES = 20; // of an ended job
const LIVE_MS = 1000; // between two looks at the running ones, all in one request
const FRAME_MS = 90;
const SIDE = 64;

const still = matchMedia("(prefers-reduced-motion: reduce)");

/** Draws the frames of many jobs into canvases; only those that are seen move. */
export class Pictures {
  constructor() {
    this.clips = new Map(); // id -> {frames, at, image}
    this.places = new Map(); // canvas -> id
    this.seen = new Set();
    this.wanted = new Set(); // ended jobs without frames yet
    this.running = new Set();
    this.tables = {};
    this.watch = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) this.seen[isIntersecting ? "add" : "delete"](target);
      this.ask();
    }, { rootMargin: "200px" });
    this.last = 0;
    this.live = setInterval(() => { if (!document.hidden) this.look(); }, LIVE_MS);
    this.turn = requestAnimationFrame((now) => this.tick(now));
  }

  /** Shows a job in a canvas; `final` says that it has ended. */
  place(canvas, id, final) {
    if (this.places.get(canvas) !== id) {
      this.places.set(canvas, id);
      this.watch.observe(canvas);
      if (this.clips.get(id)) this.draw(canvas, this.clips.get(id));
      else canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
    }
    if (final && this.running.delete(id)) this.clips.delete(id); // now all of its frames are there
    if (final && !this.clips.has(id)) { this.wanted.add(id); this.ask(); }
    if (!final) this.running.add(id);
  }

  /** Forgets canvases that are no longer in the document. */
  sweep() {
    for (const canvas of this.places.keys()) {
      if (canvas.isConnected) continue;
      this.watch.unobserve(canvas);
      this.places.delete(canvas);
      this.seen.delete(canvas);
    }
    const shown = new Set(this.places.values());
    for (const id of this.running) if (!shown.has(id)) this.running.delete(id);
  }

  visible(ids) { return [...this.seen].map((canvas) => this.places.get(canvas)).filter((id) => ids.has(id)); }

  /** Asks for the frames of ended jobs that are seen, a batch at a time. */
  async ask() {
    if (this.asking) return;
    const ids = [...new Set(this.visible(this.wanted))].slice(0, BATCH);
    if (!ids.length) return;
    this.asking = true;
    try {
      await this.load(ids, FRAMES);
      for (const id of ids) {
        this.wanted.delete(id);
        if (!this.clips.has(id)) this.clips.set(id, { frames: [], at: 0 });
      }
    } catch { // the strip in the header says that the service is away
      await new Promise((resolve) => { setTimeout(resolve, 2000); });
    } finally {
      this.asking = false;
    }
    if (!this.closed) this.ask();
  }

  /** Asks for the newest frame of all running jobs that are seen. */
  async look() {
    const ids = [...new Set(this.visible(this.running))].slice(0, 100);
    if (!ids.length || this.looking) return;
    this.looking = true;
    try { await this.load(ids, 1); } catch { /* as above */ } finally { this.looking = false; }
  }

  async load(ids, frames) {
    const answer = await send(url("v1/tiles", { jobs: ids.join(","), frames, side: SIDE }));
    const found = new Map();
    for (const frame of decodeMessages(await answer.arrayBuffer())) {
      if (!found.has(frame.job)) found.set(frame.job, []);
      found.get(frame.job).push(frame);
    }
    for (const [id, list] of found) {
      this.clips.set(id, { frames: list, at: frames > 1 ? 0 : list.length - 1 });
      for (const [canvas, one] of this.places) if (one === id) this.draw(canvas, this.clips.get(id));
    }
  }

  tick(now) {
    if (this.closed) return;
    this.turn = requestAnimationFrame((next) => this.tick(next));
    if (now - this.last < FRAME_MS || still.matches || document.hidden) return;
    this.last = now;
    const moved = new Set();
    for (const canvas of this.seen) {
      const clip = this.clips.get(this.places.get(canvas));
      if (!clip || clip.frames.length < 2) continue;
      if (!moved.has(clip)) { clip.at = (clip.at + 1) % clip.frames.length; moved.add(clip); }
      this.draw(canvas, clip);
    }
  }

  draw(canvas, clip) {
    const frame = clip.frames[clip.at];
    if (!frame) return;
    const flat = plane(frame), known = looks(frame.field);
    if (canvas.width !== flat.width) canvas.width = flat.width;
    if (canvas.height !== flat.height) canvas.height = flat.height;
    this.tables[known.map] ||= colours(known.map);
    canvas.getContext("2d").putImageData(new ImageData(paint(flat, this.tables[known.map], stretch(clip, flat, known), known.cyclic), flat.width, flat.height), 0, 0);
    canvas.dataset.step = frame.step;
  }

  destroy() {
    this.closed = true;
    cancelAnimationFrame(this.turn);
    clearInterval(this.live);
    this.watch.disconnect();
  }
}

/** Returns the range of the values of a clip, so that a field of small values is more than a dark square. */
function stretch(clip, flat, known) {
  if (flat.data instanceof Uint8Array || flat.rgb) return [0, 1]; // codes
  if (known.cyclic) return known.range;
  clip.range ||= extent(clip.frames.flatMap((frame) => extent(plane(frame).data)));
  return clip.range;
}
