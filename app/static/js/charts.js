// Line charts by uPlot, which is loaded when the first one is shown. Charts of one `group` share their cursor.

import { digits, short } from "./dom.js";

let loading = null;

function library() {
  loading ||= (async () => {
    const link = document.createElement("link");
    link.rel = "stylesheet";
    link.href = new URL("../vendor/uplot/uPlot.css", import.meta.url).href;
    document.head.append(link);
    return (await import("../vendor/uplot/uPlot.js")).default;
  })();
  return loading;
}

/** Returns limits a little outside of the values, also of a constant. */
function span(low, high) {
  if (low === null || !Number.isFinite(low)) return [0, 1];
  const margin = high > low ? (high - low) * 0.06 : Math.abs(low) * 0.1 || 0.5;
  return [low - margin, high + margin];
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/**
 * Puts a chart of values over steps into an element.
 * @param options {title, height, names: labels of the series, group: name of the shared cursor, onStep(step) at a click}.
 * @returns {set([steps, …series]), mark(step), destroy}
 */
export async function mountChart(element, { title = "", height = 96, names = [title], group = "steps", colours = [], onStep = null } = {}) {
  const uPlot = await library();
  let marked = null;
  const line = (plot) => {
    if (marked === null) return;
    const { ctx, bbox } = plot;
    const x = Math.round(plot.valToPos(marked, "x", true));
    if (x < bbox.left || x > bbox.left + bbox.width) return;
    ctx.save();
    ctx.strokeStyle = colour("--text");
    ctx.globalAlpha = 0.6;
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.restore();
  };
  const palette = ["--accent", "--good", "--wait", "--bad"];
  const axis = { stroke: () => colour("--quiet"), grid: { stroke: () => colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
  const plot = new uPlot({
    width: Math.max(120, element.clientWidth), height,
    legend: { show: false },
    cursor: { sync: { key: group }, y: false, drag: { x: false, y: false }, points: { size: 6 } },
    scales: { x: { time: false }, y: { range: (_, low, high) => span(low, high) } },
    axes: [{ ...axis, size: 22, values: (_, ticks) => ticks.map(short) },
      { ...axis, size: 46, space: 28, values: (_, ticks) => ticks.map(digits) }],
    series: [{ label: "step" }, ...names.map((label, i) => ({
      label, width: 1.5, points: { show: false }, stroke: () => colours[i] || colour(palette[i % palette.length]) }))],
    hooks: { draw: [line] },
  }, [[], ...names.map(() => [])], element);
  const watch = new ResizeObserver(() => { if (element.clientWidth > 100) plot.setSize({ width: element.clientWidth, height }); });
  watch.observe(element);
  plot.over.addEventListener("click", () => { if (onStep && plot.cursor.idx !== null) onStep(plot.data[0][plot.cursor.idx]); });
  return {
    set: (data) => plot.setData(data),
    mark(step) { if (step !== marked) { marked = step; plot.redraw(false); } },
    destroy() { watch.disconnect(); plot.destroy(); },
  };
}
