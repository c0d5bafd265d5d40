// The strip in the header: what the service does, in words. Asks every few seconds, since workers send no events.

import { get, onConnection } from "./api.js";
import { $, html, nothing, render, short, whole } from "./dom.js";

const EVERY_MS = 3000;

const watchers = new Set();
let newest = null; // {workers, queue}

/** Calls `watcher({workers, queue})` after each answer, and at once if there is one; returns a function that ends this. */
export function onHealth(watcher) {
  watchers.add(watcher);
  if (newest) watcher(newest);
  return () => watchers.delete(watcher);
}

/** Returns the state of the service in words: [{text, kind, title}], the most urgent first. */
export function describe({ workers, queue }) {
  const waiting = queue.states.queued || 0;
  const running = queue.states.running || 0;
  const ready = workers.filter((worker) => worker.state === "ready");
  const words = [];
  if (waiting && !ready.length) {
    const why = workers.length ? `its workers are ${[...new Set(workers.map((worker) => worker.state))].join(", ")}` : "no worker";
    words.push({ text: `${why}: ${whole(waiting)} ${waiting === 1 ? "waits" : "wait"}`, kind: "loud", title: "No worker takes jobs. `leym worker` starts one." });
  } else if (!workers.length) {
    words.push({ text: "no worker", kind: "wait", title: "Jobs will wait until a worker starts." });
  }
  if (queue.storage && !queue.storage.admits) words.push({ text: "disk full: new jobs are refused", kind: "loud", title: "LEYM_DISK_FREE_MIN" });
  const loading = workers.flatMap((worker) => worker.info?.loading || []);
  if (loading.length) words.push({ text: `compiling ${loading.length === 1 ? `for ${(loading[0].grid || []).join(" × ")}` : `${loading.length} laws`}`, kind: "wait", title: "A worker prepares a law for a grid that it has not run yet; the jobs of it start then." });
  if (running) words.push({ text: `${whole(running)} running` });
  if (waiting && ready.length) words.push({ text: `${whole(waiting)} queued` });
  const speed = workers.filter((worker) => worker.kind !== "training").reduce((sum, worker) => sum + worker.cell_steps_per_s, 0);
  if (running && speed) words.push({ text: `${short(speed)} cell-steps/s`, title: "Cells × steps that all workers compute in a second" });
  if (!words.length) words.push({ text: "idle" });
  return words;
}

/** Starts to look; returns a function that ends it. */
export function watchHealth() {
  let timer = 0;
  let looking = false;
  const draw = (words) => render(words.map(({ text, kind, title }) =>
    html`<span class=${kind || nothing} title=${title || nothing}>${text}</span>`), $("health"));
  const look = async () => {
    clearTimeout(timer);
    if (looking || document.hidden) return;
    looking = true;
    try {
      const [workers, queue] = await Promise.all([get("v1/workers"), get("v1/queue")]);
      newest = { workers: workers.items, queue };
      draw(describe(newest));
      for (const watcher of watchers) watcher(newest);
    } catch (error) {
      draw([{ text: `no answer: ${error.message}`, kind: "loud" }]);
    } finally {
      looking = false;
      timer = setTimeout(look, EVERY_MS);
    }
  };
  document.addEventListener("visibilitychange", look);
  onConnection((online) => { if (online) look(); else draw([{ text: "offline: the service does not answer", kind: "loud" }]); });
  draw([{ text: "connecting …" }]);
  look();
  return () => { clearTimeout(timer); document.removeEventListener("visibilitychange", look); };
}
