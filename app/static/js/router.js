// Hash routes: every view has an address, which the back button, a reload and a pasted link lead back to.

const ID = /^[0-9a-z]{26}$/;

/**
 * Reads a hash as {screen, id, params}. `#/jobs/ID?field=phase&step=120` → {screen: "universe", id: "ID", params: {…}}.
 * Hashes of the earlier page (`#ID`) are understood.
 */
export function parse(hash) {
  const text = hash.replace(/^#/, "");
  if (ID.test(text)) return { screen: "universe", id: text, params: {}, path: `/jobs/${text}` };
  const [path, query = ""] = text.split("?");
  const params = Object.fromEntries(new URLSearchParams(query));
  const [first = "", second = "", third = ""] = path.split("/").filter(Boolean).map(decodeURIComponent);
  const found = (screen, id = null, more = {}) => ({ screen, id, params, path: path || "/", ...more });
  if (!first) return found("observatory");
  if (first === "jobs" && second) return found("universe", second);
  if (first === "sweeps" && second && third) return found("universe", second, { member: third });
  if (first === "sweeps" && second) return found("sweep", second);
  if (first === "laws") return found("laws", second || null);
  if (first === "new") return found("newuniverse");
  if (first === "shared" && second) return found("shared", second);
  if (["compare", "operate", "reproduce"].includes(first)) return found(first);
  return found("missing");
}

export const route = () => parse(location.hash);

/** Returns the hash of a view; parameters that are null, undefined or "" are left out. */
export function address(path, params = {}) {
  const kept = Object.entries(params).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const query = new URLSearchParams(kept.map(([key, value]) => [key, String(value)])).toString();
  return `#${path}${query ? `?${query}` : ""}`;
}

/** Goes to a view; the back button leads here. */
export function go(path, params = {}) {
  location.hash = address(path, params);
}

/** Changes parameters of this view's address without a new entry in the history; nobody is told. */
export function replace(params) {
  const here = route();
  const hash = address(here.path, { ...here.params, ...params });
  history.replaceState(history.state, "", `${location.pathname}${location.search}${hash}`); // a hash alone would count from <base>
}
