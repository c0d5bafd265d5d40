// Requests to the service. Paths are relative to the document, since a proxy may add a path prefix.

import { $ } from "./dom.js";

/** An answer of the service that refuses something: `message` is its sentence, `errors` names keys. */
export class Refusal extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `status ${status}`);
    this.status = status;
    this.errors = problem.errors || [];
    this.problem = problem;
  }
}

/** No answer at all: the service or the network is away. */
export class Away extends Error {}

const watchers = new Set();
let online = true;

/** Calls `watcher(online)` whenever the service goes away or comes back; returns a function that ends this. */
export function onConnection(watcher) {
  watchers.add(watcher);
  return () => watchers.delete(watcher);
}

function connected(is) {
  if (is === online) return;
  online = is;
  for (const watcher of watchers) watcher(is);
}

export const isOnline = () => online;

/** Sends a request; returns the Response. Raises Refusal for a refusal and Away without an answer. */
export async function send(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    connected(false);
    throw new Away("the service does not answer");
  }
  connected(true);
  if (answer.status === 401) signIn();
  if (!answer.ok) throw new Refusal(answer.status, await answer.json().catch(() => ({})));
  return answer;
}

/** Returns a path with a query of those parameters that have a value. */
export function url(path, params = {}) {
  const kept = Object.entries(params).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const query = new URLSearchParams(kept).toString();
  return query ? `${path}?${query}` : path;
}

/** Reads JSON without rounding integers: those that JavaScript cannot hold become strings, which `post` undoes. */
export const parse = (text) => JSON.parse(exact(text));

const read = async (answer) => (answer.status === 204 ? null : parse(await answer.text()));

/** Returns the JSON of a path. */
export const get = async (path, params = {}, options = {}) => read(await send(url(path, params), options));

/** Sends JSON and returns the JSON of the answer. */
export async function post(path, body, { method = "POST", headers = {}, ...options } = {}) {
  const sent = body === undefined ? {} : { body: inexact(JSON.stringify(body)) };
  return read(await send(path, { method, headers: { "Content-Type": "application/json", ...headers }, ...sent, ...options }));
}

const TOKENS = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** Quotes integers that JavaScript would round (seeds have up to 63 bits), so that they become strings "#123". */
function exact(json) {
  return json.replace(TOKENS, (token) => (/^-?\d+$/.test(token) && !Number.isSafeInteger(Number(token)) ? `"#${token}"` : token));
}

/** Undoes `exact` in what is sent back. */
const inexact = (json) => json.replace(/"#(-?\d{16,20})"/g, "$1");

/** Returns an integer that `exact` has quoted, or any other value, as text. */
export const plain = (value) => String(value).replace(/^#(?=-?\d{16,20}$)/, "");

/** Opens the dialog that asks for a token. */
export function signIn() {
  if (document.documentElement.classList.contains("visitor")) return; // a shared link needs no account
  if (!$("sign-in").open) $("sign-in").showModal();
}

/**
 * Follows jobs through one stream, `GET /v1/events`: the newest 100, or those that `params` choose.
 * @param params {jobs, sweep, state, replay} of the endpoint.
 * @param handlers {state, frame, progress, end}: called with the data of each event ({job, …}); {open, lost}.
 * @returns a function that ends it. While the page is hidden, nothing is followed.
 */
export function events(params, handlers) {
  let source = null;
  let timer = 0;
  const close = () => { source?.close(); source = null; clearTimeout(timer); };
  const open = () => {
    close();
    source = new EventSource(url("v1/events", params));
    for (const name of ["state", "frame", "progress", "end"]) {
      source.addEventListener(name, (event) => handlers[name]?.(JSON.parse(exact(event.data))));
    }
    source.addEventListener("open", () => { connected(true); handlers.open?.(); });
    source.addEventListener("error", () => {
      handlers.lost?.();
      if (source?.readyState === EventSource.CLOSED) timer = setTimeout(open, 2000); // refused: the browser gives up
    });
  };
  const seen = () => (document.hidden ? close() : source || open());
  document.addEventListener("visibilitychange", seen);
  seen();
  return () => { document.removeEventListener("visibilitychange", seen); close(); };
}
