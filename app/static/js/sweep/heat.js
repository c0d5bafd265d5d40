// A heat map on a canvas: cells with axes around them, a cursor, and a brush by mouse, touch or keys.

import { colours } from "../colormaps.js";

const LEFT = 74, BOTTOM = 40, TOP = 8, RIGHT = 12;

/** One map of a phase diagram. `host` gets {onCursor(i, j), onBrush({i0, i1, j0, j1})}. */
export class Heat {
  constructor(canvas, host) {
    this.canvas = canvas;
    this.host = host;
    this.data = null;
    this.brush = null; // {i0, i1, j0, j1}, j counted from below
    this.cursor = null;
    this.from = null;
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", () => this.up());
    canvas.addEventListener("pointerleave", () => { if (!this.from) this.point(null); });
    canvas.addEventListener("keydown", (event) => this.key(event));
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(canvas);
  }

  close() { this.observer.disconnect(); }

  /** Shows {x, y: axes, value(j, i), map, range, tile(j, i) → canvas or null}. */
  set(data) {
    this.data = data;
    this.draw();
  }

  get plot() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    return { left: LEFT, top: TOP, width: Math.max(width - LEFT - RIGHT, 10), height: Math.max(height - TOP - BOTTOM, 10) };
  }

  at(event) {
    const { left, top, width, height } = this.plot;
    const { x, y } = this.data;
    const i = Math.floor(((event.offsetX - left) / width) * x.values.length);
    const j = y.values.length - 1 - Math.floor(((event.offsetY - top) / height) * y.values.length);
    const clamp = (k, n) => Math.min(Math.max(k, 0), n - 1);
    const inside = i >= 0 && i < x.values.length && j >= 0 && j < y.values.length;
    return { i: clamp(i, x.values.length), j: clamp(j, y.values.length), inside };
  }

  point(cell) {
    if (cell?.i === this.cursor?.i && cell?.j === this.cursor?.j) return;
    this.cursor = cell;
    this.draw();
    this.host.onCursor(cell);
  }

  down(event) {
    if (!this.data || event.button) return;
    const { i, j, inside } = this.at(event);
    if (!inside) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.from = { i, j };
    this.span(i, j);
  }

  move(event) {
    if (!this.data) return;
    const { i, j, inside } = this.at(event);
    this.point(inside || this.from ? { i, j } : null);
    if (this.from) this.span(i, j);
  }

  span(i, j) {
    const { from } = this;
    this.brush = { i0: Math.min(from.i, i), i1: Math.max(from.i, i), j0: Math.min(from.j, j), j1: Math.max(from.j, j) };
    this.draw();
  }

  up() {
    if (!this.from) return;
    this.from = null;
    this.host.onBrush(this.brush);
  }

  key(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    if (!this.data || (!moves[event.key] && event.key !== "Enter" && event.key !== "Escape")) return;
    event.preventDefault();
    event.stopPropagation();
    const { x, y } = this.data;
    const here = this.cursor || { i: 0, j: 0 };
    if (event.key === "Escape") { this.brush = null; this.anchor = null; this.draw(); return this.host.onBrush(null); }
    if (event.key === "Enter") { this.from = this.anchor || here; this.span(here.i, here.j); return this.up(); }
    const [di, dj] = moves[event.key];
    this.anchor = event.shiftKey ? this.anchor || here : null;
    const next = { i: Math.min(Math.max(here.i + di, 0), x.values.length - 1), j: Math.min(Math.max(here.j + dj, 0), y.values.length - 1) };
    this.point(next);
    if (this.anchor) { this.from = this.anchor; this.span(next.i, next.j); this.from = null; }
  }

  draw() {
    const { canvas, data } = this;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!data || !width) return;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    const style = getComputedStyle(canvas);
    const colour = (name) => style.getPropertyValue(name).trim();
    const { left, top, width: w, height: h } = this.plot;
    const [nx, ny] = [data.x.values.length, data.y.values.length];
    const rgb = colours(data.map);
    const [low, high] = data.range;
    const gap = w / nx > 6 && h / ny > 6 ? 1 : 0;
    context.imageSmoothingEnabled = false;
    for (let j = 0; j < ny; j++) {
      for (let i = 0; i < nx; i++) {
        const [x0, x1] = [left + Math.round((w * i) / nx), left + Math.round((w * (i + 1)) / nx)];
        const [y0, y1] = [top + Math.round((h * (ny - 1 - j)) / ny), top + Math.round((h * (ny - j)) / ny)];
        const tile = data.tile?.(j, i);
        const value = data.value(j, i);
        context.fillStyle = colour("--raised");
        if (!tile && Number.isFinite(value)) {
          const k = 3 * Math.min(Math.max(Math.floor(((value - low) / (high - low || 1)) * 256), 0), 255);
          context.fillStyle = `rgb(${rgb[k]} ${rgb[k + 1]} ${rgb[k + 2]})`;
        }
        context.fillRect(x0, y0, x1 - x0 - gap, y1 - y0 - gap);
        if (tile) fit(context, tile, x0, y0, x1 - x0 - gap, y1 - y0 - gap);
        else if (!Number.isFinite(value)) hatch(context, x0, y0, x1 - x0 - gap, y1 - y0 - gap, colour("--line-strong"));
      }
    }
    this.labels(context, colour);
    if (this.brush) this.outline(context, this.brush, colour("--text"), 2);
    if (this.cursor) this.outline(context, { i0: this.cursor.i, i1: this.cursor.i, j0: this.cursor.j, j1: this.cursor.j }, colour("--accent"), 2);
  }

  outline(context, { i0, i1, j0, j1 }, colour, thickness) {
    const { left, top, width, height } = this.plot;
    const [nx, ny] = [this.data.x.values.length, this.data.y.values.length];
    const [x0, x1] = [left + (width * i0) / nx, left + (width * (i1 + 1)) / nx];
    const [y0, y1] = [top + (height * (ny - 1 - j1)) / ny, top + (height * (ny - j0)) / ny];
    context.lineWidth = thickness + 2;
    context.strokeStyle = "rgb(0 0 0 / .6)";
    context.strokeRect(x0, y0, x1 - x0 - 1, y1 - y0 - 1);
    context.lineWidth = thickness;
    context.strokeStyle = colour;
    context.strokeRect(x0, y0, x1 - x0 - 1, y1 - y0 - 1);
  }

  labels(context, colour) {
    const { x, y } = this.data;
    const { left, top, width, height } = this.plot;
    context.font = "12px system-ui, sans-serif";
    context.fillStyle = colour("--quiet");
    context.textAlign = "center";
    context.textBaseline = "top";
    const widest = Math.max(...x.labels.map((label) => context.measureText(label).width), 8) + 10;
    const every = Math.max(Math.ceil((widest * x.labels.length) / width), 1);
    x.labels.forEach((label, i) => {
      if (i % every === 0) context.fillText(label, left + (width * (i + 0.5)) / x.labels.length, top + height + 5);
    });
    context.textAlign = "right";
    context.textBaseline = "middle";
    const rows = Math.max(Math.ceil((16 * y.labels.length) / height), 1);
    y.labels.forEach((label, j) => {
      if (j % rows === 0) context.fillText(shortened(context, label, LEFT - 28), left - 6, top + height - (height * (j + 0.5)) / y.labels.length);
    });
    context.fillStyle = colour("--text");
    context.textAlign = "center";
    context.textBaseline = "bottom";
    context.fillText(x.name, left + width / 2, top + height + BOTTOM);
    context.save();
    context.translate(12, top + height / 2);
    context.rotate(-Math.PI / 2);
    context.textBaseline = "middle";
    context.fillText(y.name, 0, 0);
    context.restore();
  }
}

function shortened(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  while (text && context.measureText(`${text}…`).width > width) text = text.slice(0, -1);
  return `${text}…`;
}

function fit(context, tile, x, y, width, height) {
  const scale = Math.min(width / tile.width, height / tile.height);
  const [w, h] = [tile.width * scale, tile.height * scale];
  context.drawImage(tile, x + (width - w) / 2, y + (height - h) / 2, w, h);
}

function hatch(context, x, y, width, height, colour) {
  context.save();
  context.beginPath();
  context.rect(x, y, width, height);
  context.clip();
  context.strokeStyle = colour;
  context.lineWidth = 1;
  context.beginPath();
  for (let k = -height; k < width; k += 8) { context.moveTo(x + k, y + height); context.lineTo(x + k + height, y); }
  context.stroke();
  context.restore();
}
