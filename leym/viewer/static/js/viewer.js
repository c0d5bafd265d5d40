// Shows one frame in a canvas: WebGL2 with the colour map in the shader, or 2D where there is no WebGL2. Zoom, pan, tiling.
// Knows nothing of the rest of the page: notebooks and shared pages use it too.

import { CYCLIC, colours } from "./colormaps.js";

const CLICK = 6; // pixels that the pointer may move in a click

const VERTEX = `#version 300 es
void main() { vec2 p = vec2((gl_VertexID << 1) & 2, gl_VertexID & 2); gl_Position = vec4(p * 2.0 - 1.0, 0.0, 1.0); }`;
// a pixel of the canvas -> a cell; values -> the map's row. `mode`: 0 one number per cell, 1 red, green, blue
const FRAGMENT = `#version 300 es
precision highp float;
uniform sampler2D cells, map;
uniform vec2 size, origin, range, canvas;
uniform float scale, tiles;
uniform int mode, cyclic;
uniform vec3 ground;
out vec4 colour;
void main() {
  vec2 at = (vec2(gl_FragCoord.x, canvas.y - gl_FragCoord.y) - origin) / scale;
  vec2 low = -size * floor(tiles / 2.0), high = low + size * tiles;
  if (any(lessThan(at, low)) || any(greaterThanEqual(at, high))) { colour = vec4(ground, 1.0); return; }
  vec2 cell = mod(floor(at), size);
  vec4 found = texelFetch(cells, ivec2(cell), 0);
  if (mode == 1) { colour = vec4(clamp(found.rgb, 0.0, 1.0), 1.0); return; }
  float value = (found.r - range.x) / max(range.y - range.x, 1e-30);
  value = cyclic == 1 ? fract(value) : clamp(value, 0.0, 1.0);
  colour = isnan(found.r) ? vec4(0.5, 0.5, 0.5, 1.0) : vec4(texelFetch(map, ivec2(int(min(value * 256.0, 255.0)), 0), 0).rgb, 1.0);
  if (tiles > 1.0 && (any(lessThan(at, vec2(0.0))) || any(greaterThanEqual(at, size)))) colour.rgb = mix(ground, colour.rgb, 0.72);
}`;

/** Draws with WebGL2. Raises Error where there is none. */
class Shader {
  constructor(canvas) {
    const gl = canvas.getContext("webgl2", { antialias: false, alpha: false, preserveDrawingBuffer: true });
    if (!gl) throw new Error("no WebGL2");
    this.gl = gl;
    const program = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    gl.useProgram(program);
    this.at = (name) => gl.getUniformLocation(program, name);
    this.places = Object.fromEntries(["cells", "map", "size", "origin", "range", "canvas", "scale", "tiles", "mode", "cyclic", "ground"]
      .map((name) => [name, this.at(name)]));
    this.cells = this.texture(0);
    this.map = this.texture(1);
    gl.uniform1i(this.places.cells, 0);
    gl.uniform1i(this.places.map, 1);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
  }

  texture(unit) {
    const gl = this.gl, texture = gl.createTexture();
    gl.activeTexture(gl.TEXTURE0 + unit);
    gl.bindTexture(gl.TEXTURE_2D, texture);
    for (const side of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, side, gl.NEAREST);
    return texture;
  }

  setMap(table) {
    const gl = this.gl;
    gl.activeTexture(gl.TEXTURE1);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB8, 256, 1, 0, gl.RGB, gl.UNSIGNED_BYTE, table);
  }

  setCells({ data, height, width, rgb }) {
    const gl = this.gl;
    const codes = data instanceof Uint8Array;
    const kinds = codes ? [rgb ? gl.RGB8 : gl.R8, gl.UNSIGNED_BYTE] : [rgb ? gl.RGB32F : gl.R32F, gl.FLOAT];
    const layout = rgb ? gl.RGB : gl.RED;
    gl.activeTexture(gl.TEXTURE0);
    const same = this.kept === `${width} ${height} ${kinds}`;
    if (same) gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, width, height, layout, kinds[1], data);
    else gl.texImage2D(gl.TEXTURE_2D, 0, kinds[0], width, height, 0, layout, kinds[1], data);
    this.kept = `${width} ${height} ${kinds}`;
  }

  draw({ plane, range, origin, scale, tiles, cyclic, ground, width, height }) {
    const gl = this.gl, places = this.places;
    gl.viewport(0, 0, width, height);
    gl.uniform2f(places.size, plane.width, plane.height);
    gl.uniform2f(places.origin, origin[0], origin[1]);
    gl.uniform2f(places.range, range[0], range[1]);
    gl.uniform2f(places.canvas, width, height);
    gl.uniform1f(places.scale, scale);
    gl.uniform1f(places.tiles, tiles);
    gl.uniform1i(places.mode, plane.rgb ? 1 : 0);
    gl.uniform1i(places.cyclic, cyclic ? 1 : 0);
    gl.uniform3f(places.ground, ...ground);
    // the program runs for the pixels of the universe only: without a GPU, that is what a frame costs
    const reach = Math.floor(tiles / 2), covered = (start, cells, side) => {
      const low = Math.max(0, Math.floor(start - reach * cells * scale));
      return [low, Math.max(0, Math.min(side, Math.ceil(start + (reach + 1) * cells * scale)) - low)];
    };
    const [left, across] = covered(origin[0], plane.width, width), [top, down] = covered(origin[1], plane.height, height);
    gl.disable(gl.SCISSOR_TEST);
    gl.clearColor(...ground, 1);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.enable(gl.SCISSOR_TEST);
    gl.scissor(left, height - top - down, across, down);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  destroy() { this.gl.getExtension("WEBGL_lose_context")?.loseContext(); }
}

/** Draws with a 2D context: colours the cells in JavaScript, and lets the browser scale them. */
class Plain {
  constructor(canvas) {
    this.context = canvas.getContext("2d");
    this.small = document.createElement("canvas");
  }

  setMap(table) { this.table = table; }

  setCells() {} // they are coloured when they are drawn

  draw({ plane, range, origin, scale, tiles, cyclic, ground, width, height }) {
    if (this.small.width !== plane.width) this.small.width = plane.width;
    if (this.small.height !== plane.height) this.small.height = plane.height;
    const inner = this.small.getContext("2d");
    inner.putImageData(new ImageData(paint(plane, this.table, range, cyclic), plane.width, plane.height), 0, 0);
    const context = this.context;
    context.fillStyle = `rgb(${ground.map((part) => Math.round(part * 255)).join(" ")})`;
    context.fillRect(0, 0, width, height);
    context.imageSmoothingEnabled = false;
    const reach = Math.floor(tiles / 2);
    for (let y = -reach; y <= reach; y++) {
      for (let x = -reach; x <= reach; x++) {
        context.globalAlpha = x || y ? 0.72 : 1;
        context.drawImage(this.small, origin[0] + x * plane.width * scale, origin[1] + y * plane.height * scale,
          plane.width * scale, plane.height * scale);
      }
    }
    context.globalAlpha = 1;
  }

  destroy() { this.small.width = 0; }
}

/** Returns the colours of a plane as RGBA, Uint8ClampedArray of 4 × cells. */
export function paint({ data, height, width, rgb }, table, range, cyclic) {
  const out = new Uint8ClampedArray(4 * height * width);
  const codes = data instanceof Uint8Array;
  const factor = 1 / Math.max(range[1] - range[0], 1e-30);
  for (let i = 0, o = 0; i < height * width; i++, o += 4) {
    out[o + 3] = 255;
    if (rgb) {
      for (let c = 0; c < 3; c++) out[o + c] = codes ? data[3 * i + c] : 255 * data[3 * i + c];
      continue;
    }
    let value = ((codes ? data[i] / 255 : data[i]) - range[0]) * factor;
    value = cyclic ? value - Math.floor(value) : Math.min(1, Math.max(0, value));
    const row = 3 * Math.min(255, Math.floor(value * 256));
    for (let c = 0; c < 3; c++) out[o + c] = Number.isNaN(value) ? 128 : table[row + c];
  }
  return out;
}

/**
 * Puts a viewer into an element, which it fills.
 * @param options {map, range, tiles, onCell(y, x) at a click, onHover(cell, event), onStroke(cell, phase) → whether it is
 *   taken, onView(view) after a person has zoomed or moved}. A view is {zoom, x, y}: how many times larger than what fits,
 *   and the point in the middle, as shares of the universe's sides.
 * @returns {show(plane), setMap, setRange, setTiles, setView, fit, zoom, pan, cellAt, placeOf, destroy, canvas, kind}
 */
export function mountViewer(element, { map = "viridis", range = [0, 1], tiles = 1, onCell, onHover, onStroke, onView, force2d = false } = {}) {
  let canvas = document.createElement("canvas");
  canvas.className = "viewer";
  let painter, kind = "webgl2";
  try {
    if (force2d) throw new Error("2D is wanted");
    painter = new Shader(canvas);
  } catch { // no WebGL2: a canvas that has refused one context may refuse another
    canvas = canvas.cloneNode();
    painter = new Plain(canvas);
    kind = "2d";
  }
  element.append(canvas);
  const state = { plane: null, range, tiles, cyclic: CYCLIC.has(map), scale: 0, origin: [0, 0], width: 1, height: 1, ground: [0.02, 0.024, 0.04] };
  painter.setMap(colours(map));
  let fitted = true, wanted = { zoom: 1, x: 0.5, y: 0.5 }, queued = 0, ended = false;

  const draw = () => { queued = 0; if (state.plane && state.width > 1) painter.draw(state); };
  const later = () => { queued ||= requestAnimationFrame(draw); };

  /** Returns the side in pixels of a cell of a universe that fits. */
  function fitting() {
    const { width, height } = state.plane;
    const scale = Math.min(state.width / (width * state.tiles), state.height / (height * state.tiles));
    return scale > 4 ? Math.floor(scale) : scale; // whole pixels per cell look even
  }

  function setView({ zoom, x, y }) {
    wanted = { zoom, x, y };
    fitted = zoom === 1 && x === 0.5 && y === 0.5;
    if (!state.plane) return;
    const { width, height } = state.plane;
    state.scale = zoom * fitting();
    state.origin = [state.width / 2 - x * width * state.scale, state.height / 2 - y * height * state.scale];
    later();
  }

  const fit = () => setView({ zoom: 1, x: 0.5, y: 0.5 });

  /** Tells how a person has changed the view. */
  function tell() {
    later();
    if (!state.plane) return;
    const { width, height } = state.plane;
    wanted = { zoom: state.scale / fitting(), x: (state.width / 2 - state.origin[0]) / (width * state.scale),
      y: (state.height / 2 - state.origin[1]) / (height * state.scale) };
    onView?.(wanted);
  }

  function zoom(factor, x = state.width / 2, y = state.height / 2) {
    const scale = Math.min(256, Math.max(0.1, state.scale * factor));
    const by = scale / state.scale;
    state.origin = [x - (x - state.origin[0]) * by, y - (y - state.origin[1]) * by];
    state.scale = scale;
    fitted = false;
    tell();
  }

  function pan(x, y) {
    state.origin = [state.origin[0] + x, state.origin[1] + y];
    fitted = false;
    tell();
  }

  const ratio = () => Math.min(2, devicePixelRatio || 1);
  const watch = new ResizeObserver(() => {
    const box = element.getBoundingClientRect();
    if (!box.width || !box.height) return;
    const [width, height] = [Math.round(box.width * ratio()), Math.round(box.height * ratio())];
    if (width === state.width && height === state.height) return;
    state.width = canvas.width = width;
    state.height = canvas.height = height;
    const ground = getComputedStyle(element).backgroundColor.match(/[\d.]+/g);
    if (ground) state.ground = ground.slice(0, 3).map((part) => part / 255);
    setView(wanted);
  });
  watch.observe(element);

  /** Returns the pixel of the canvas under a pointer. */
  const pixel = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) * canvas.width) / box.width, ((event.clientY - box.top) * canvas.height) / box.height];
  };

  /** Returns {y, x} of the cell at a pixel; null outside. In tiles, the cell that they repeat. */
  function cellAt([px, py]) {
    if (!state.plane) return null;
    const { width, height } = state.plane;
    const x = (px - state.origin[0]) / state.scale, y = (py - state.origin[1]) / state.scale;
    const reach = Math.floor(state.tiles / 2);
    if (x < -reach * width || y < -reach * height || x >= (reach + 1) * width || y >= (reach + 1) * height) return null;
    const wrap = (value, side) => ((Math.floor(value) % side) + side) % side;
    return { x: wrap(x, width), y: wrap(y, height) };
  }

  const held = new Map(); // pointers that are down: id -> [x, y]
  let moved = 0, stroking = false, apart = 0;
  const listeners = [];
  const listen = (...listener) => { listeners.push(listener); canvas.addEventListener(...listener); };
  listen("webglcontextlost", () => { // the browser has taken it for others, as in a notebook with many views
    if (ended) return;
    const other = canvas.cloneNode();
    canvas.replaceWith(other);
    canvas = other;
    painter = new Plain(canvas);
    kind = "2d";
    for (const listener of listeners) canvas.addEventListener(...listener);
    painter.setMap(colours(map));
    later();
  });
  listen("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    held.set(event.pointerId, pixel(event));
    moved = 0;
    stroking = Boolean(onStroke?.(cellAt(pixel(event)), "start")) && held.size === 1;
  });
  listen("pointermove", (event) => {
    const now = pixel(event), before = held.get(event.pointerId);
    if (!before) { onHover?.(cellAt(now), event); return; }
    held.set(event.pointerId, now);
    moved += Math.abs(now[0] - before[0]) + Math.abs(now[1] - before[1]);
    if (stroking && held.size === 1) { onStroke(cellAt(now), "move"); return; }
    if (held.size === 2) { // two fingers: the distance between them is the zoom
      const [a, b] = [...held.values()];
      const distance = Math.hypot(a[0] - b[0], a[1] - b[1]);
      if (apart) zoom(distance / apart, (a[0] + b[0]) / 2, (a[1] + b[1]) / 2);
      apart = distance;
      return;
    }
    if (moved < CLICK) return;
    pan(now[0] - before[0], now[1] - before[1]);
  });
  const up = (event) => {
    const at = held.get(event.pointerId);
    held.delete(event.pointerId);
    apart = 0;
    if (stroking) { stroking = false; onStroke?.(cellAt(pixel(event)), "end"); return; }
    if (at && moved < CLICK && event.type === "pointerup") { const cell = cellAt(at); if (cell) onCell?.(cell.y, cell.x); }
  };
  listen("pointerup", up);
  listen("pointercancel", up);
  listen("pointerleave", (event) => { if (!held.size) onHover?.(null, event); });
  listen("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 400), ...pixel(event));
  }, { passive: false });
  listen("dblclick", () => { fit(); tell(); });

  return {
    get canvas() { return canvas; }, get kind() { return kind; }, fit, zoom, pan, setView, cellAt,
    show(plane) {
      const other = !state.plane || state.plane.width !== plane.width || state.plane.height !== plane.height;
      state.plane = plane;
      painter.setCells(plane);
      if (other) setView(wanted);
      later();
    },
    setMap(name) {
      if (name === map) return;
      painter.setMap(colours(name));
      map = name;
      state.cyclic = CYCLIC.has(name);
      later();
    },
    setRange(low, high) { state.range = [low, high]; later(); },
    setTiles(count) { state.tiles = count; if (fitted) fit(); else tell(); },
    /** Returns left, top and side of a cell in CSS pixels of the element. */
    placeOf: (y, x) => {
      const by = 1 / ratio();
      return { left: (state.origin[0] + x * state.scale) * by, top: (state.origin[1] + y * state.scale) * by, side: state.scale * by };
    },
    destroy() { ended = true; watch.disconnect(); cancelAnimationFrame(queued); painter.destroy(); canvas.remove(); },
  };
}
