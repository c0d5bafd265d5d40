// The live view of the service: follows the chosen job by its event stream. lists.js has the lists.
"use strict";

const LOOK_MS = 2000;
const PICTURE_MS = 250; // shortest time between two pictures
const POINTS = 300; // of a trend line
const FINAL = ["succeeded", "failed", "cancelled"];

const $ = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en", { maximumSignificantDigits: 3, notation: "compact" });
const whole = new Intl.NumberFormat("en");

let chosen = null; // the job in the detail panel and its data
let pages = 1;

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Returns the JSON of a response. Paths are relative to this page, since a proxy may add a path prefix. */
async function ask(path, options) {
  const answer = await fetch(path, options);
  if (answer.status === 401 && !$("sign-in").open) $("sign-in").showModal();
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({}));
    throw new Error(problem.detail || `${answer.status} ${answer.statusText}`);
  }
  return JSON.parse(exact(await answer.text()));
}

/** Quotes integers that JavaScript would round (seeds have up to 63 bits), so that they become strings. */
function exact(json) {
  return json.replace(/"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g,
    (token) => (/^-?\d+$/.test(token) && !Number.isSafeInteger(Number(token)) ? `"${token}"` : token));
}

$("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = JSON.stringify({ token: $("token").value.trim() });
  const answer = await fetch("v1/session", { method: "POST", headers: { "Content-Type": "application/json" }, body });
  $("refused").hidden = answer.ok;
  if (answer.ok) location.reload();
});

// ---- the chosen job

async function choose(id) {
  if (chosen) { chosen.stream?.close(); clearTimeout(chosen.timer); }
  chosen = null;
  for (const [of, row] of rows) row.classList.toggle("chosen", of === id);
  $("detail").hidden = !id;
  if (!id) return;
  const mine = (chosen = { id, job: null, series: null, step: null, shown: null, timer: 0, stream: null });
  $("detail-title").textContent = id;
  for (const part of ["detail-error", "picture-box", "no-picture", "numbers-table"]) $(part).hidden = true;
  $("detail-facts").textContent = "";
  $("picture").removeAttribute("src");
  try {
    mine.job = await ask(`v1/jobs/${id}`);
    if (mine !== chosen) return;
    showFacts(mine.job);
    const fields = (mine.job.spec.record || []).map((recording) => recording.field);
    $("field").replaceChildren(...fields.map((field) => make("option", {}, field)));
    $("picture-box").hidden = $("no-picture").hidden = fields.length > 0 || !mine.job.spec.record; // others never have any
    if (fields.length) await showLast(mine);
    await loadSeries(mine);
    if (mine === chosen) follow(mine);
  } catch (error) {
    if (mine === chosen) complain(error.message);
  }
}

function showFacts(job) {
  const at = (key, words) => (job[key] ? [`${words} ${new Date(job[key]).toLocaleString()}`] : []);
  const training = job.spec.kind === "training";
  const seed = training ? job.spec.recipe.train?.seed ?? 0 : job.spec.seed;
  $("detail-facts").textContent = [job.state, `${whole.format(job.step)} of ${whole.format(job.steps)} ${training ? "updates" : "steps"}`,
    job.law.replace(/(@.{8}).*/, "$1"), job.precision, `${job.spec.grid.join(" × ")} cells`,
    ...(seed === undefined ? [] : [`seed ${seed}`]), ...(job.state === "queued" && job.queue.waits_for ? [job.queue.waits_for] : []),
    ...at("created_at", "submitted"), ...at("finished_at", "ended")].join(" · ");
  $("cancel").disabled = FINAL.includes(job.state);
  if (job.error) complain(job.error.detail || job.error.title);
}

function complain(text) {
  $("detail-error").textContent = text;
  $("detail-error").hidden = false;
}

/** Shows the newest committed frame of the selected field. */
async function showLast(mine) {
  const { items } = await ask(`v1/jobs/${mine.id}/frames`);
  if (mine !== chosen) return;
  const field = items.find((item) => item.name === $("field").value);
  const none = !field || field.committed === 0;
  $("picture-box").hidden = none;
  $("no-picture").hidden = !none;
  if (!none) showPicture(mine, (field.committed - 1) * field.every);
}

/** Shows pictures as fast as they can be drawn, at most one per PICTURE_MS, and skips those in between. */
function showPicture(mine, step) {
  mine.step = step;
  if (mine.timer) return;
  mine.timer = setTimeout(async () => {
    const field = $("field").value;
    const image = new Image();
    const shown = mine.step;
    image.src = `v1/jobs/${mine.id}/frames/${encodeURIComponent(field)}?format=png&start=${shown}&stop=${shown + 1}`;
    const drawn = await image.decode().then(() => true, () => false);
    mine.timer = 0;
    if (mine !== chosen || field !== $("field").value) return;
    if (drawn) {
      $("picture").src = image.src;
      $("picture").alt = `${field} at step ${shown}`;
      $("caption").textContent = `${field}, step ${whole.format(shown)}`;
      $("picture-box").hidden = false;
      $("no-picture").hidden = true;
    }
    if (mine.step !== shown) showPicture(mine, mine.step);
  }, PICTURE_MS);
}

async function loadSeries(mine) {
  const observe = mine.job.spec.observe;
  mine.series = { step: [] };
  if (mine.job.spec.kind === "training") {
    const { update, ...losses } = await ask(`v1/jobs/${mine.id}/curve`);
    if (mine !== chosen) return;
    mine.series = { step: update, ...losses };
    showNumbers(mine);
  }
  if (!observe) return;
  const stride = Math.max(1, Math.ceil(mine.job.step / observe.every / POINTS));
  const found = await ask(`v1/jobs/${mine.id}/observables?stride=${stride}`);
  if (mine !== chosen) return;
  mine.series = found;
  showNumbers(mine);
}

function follow(mine) {
  const seen = mine.job.step; // earlier steps are in the picture and the trends already
  mine.stream = new EventSource(`v1/jobs/${mine.id}/events${seen > 0 ? `?last_event_id=${seen}` : ""}`);
  mine.stream.addEventListener("frame", (event) => {
    const data = JSON.parse(event.data);
    if (data.fields.includes($("field").value)) showPicture(mine, data.step);
    if (Object.keys(data.observables).length) addNumbers(mine, data);
    mine.job = { ...mine.job, step: data.step };
    mine.redraw ||= requestAnimationFrame(() => { // many events may arrive between two repaints
      mine.redraw = 0;
      if (mine !== chosen) return;
      showFacts(mine.job);
      showNumbers(mine);
    });
  });
  mine.stream.addEventListener("progress", (event) => {
    const data = JSON.parse(event.data);
    addNumbers(mine, data);
    mine.job = { ...mine.job, step: data.step };
    showFacts(mine.job);
    showNumbers(mine);
  });
  mine.stream.addEventListener("state", (event) => {
    mine.job = { ...mine.job, ...JSON.parse(event.data) };
    showFacts(mine.job);
  });
  mine.stream.addEventListener("end", () => {
    mine.stream.close();
    if (mine === chosen && mine.job.spec.record?.length) showLast(mine).catch((error) => complain(error.message));
    look();
  });
  mine.stream.addEventListener("error", async () => {
    if (mine.stream.readyState !== EventSource.CLOSED) return; // the browser reconnects by itself
    try { // the job ended while the stream was disconnected (204), or the stream is refused
      mine.job = await ask(`v1/jobs/${mine.id}`);
      if (mine === chosen) showFacts(mine.job);
    } catch (error) {
      if (mine === chosen) complain(error.message);
    }
  });
}

function addNumbers(mine, data) {
  if (data.step <= (mine.series.step.at(-1) ?? -1)) return;
  mine.series.step.push(data.step);
  for (const [name, value] of Object.entries(data.observables)) (mine.series[name] ||= []).push(value);
  if (mine.series.step.length > 2 * POINTS) { // drop every second point
    for (const name in mine.series) mine.series[name] = mine.series[name].filter((_, i) => i % 2 === 0);
  }
}

function showNumbers(mine) {
  const names = Object.keys(mine.series).filter((name) => name !== "step");
  $("numbers-table").hidden = names.length === 0 || mine.series.step.length === 0;
  $("numbers").replaceChildren(...names.map((name) => {
    const values = mine.series[name];
    const last = values[values.length - 1];
    return make("tr", {}, make("th", { scope: "row" }, name),
      make("td", {}, typeof last === "number" ? last.toPrecision(4) : "–"), make("td", {}, trendLine(values)));
  }));
}

function trendLine(values) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  for (const [k, v] of [["viewBox", "0 0 100 20"], ["preserveAspectRatio", "none"], ["class", "trend"], ["aria-hidden", "true"]])
    svg.setAttribute(k, v);
  const finite = values.filter(Number.isFinite);
  const low = Math.min(...finite), high = Math.max(...finite);
  const y = (value) => (high > low ? 19 - (18 * (value - low)) / (high - low) : 10);
  const line = document.createElementNS(space, "polyline");
  const width = Math.max(1, values.length - 1);
  line.setAttribute("points", values.flatMap((v, i) =>
    (Number.isFinite(v) ? [`${((100 * i) / width).toFixed(2)},${y(v).toFixed(2)}`] : [])).join(" "));
  svg.append(line);
  return svg;
}

// ---- start

$("filter").addEventListener("change", () => { pages = 1; listSoon(); });
$("more").addEventListener("click", () => { pages += 1; listSoon(); });
$("field").addEventListener("change", () => { if (chosen) showLast(chosen).catch((error) => complain(error.message)); });
$("cancel").addEventListener("click", async () => {
  const mine = chosen;
  try {
    mine.job = await ask(`v1/jobs/${mine.id}/cancel`, { method: "POST" });
    if (mine === chosen) showFacts(mine.job);
  } catch (error) {
    complain(error.message);
  }
});
const fromHash = () => choose(/^#[0-9a-z]{26}$/.test(location.hash) ? location.hash.slice(1) : null);
addEventListener("hashchange", fromHash);
document.addEventListener("visibilitychange", () => { followList(); look(); });
fromHash();
look();
setInterval(look, LOOK_MS);
