// The laws: a gallery of cards, the page of one law, and Draw 24.

import { complain, nothing, render, stylesheet } from "../dom.js";

const PARTS = { gallery: "cards", law: "law", draw: "draw" };

const partOf = ({ id, params }) => (id ? "law" : params.view === "draw" ? "draw" : "gallery");

export async function mount(element, route, app) {
  await Promise.all(["viewer", "universe", "sweep", "laws"].map(stylesheet));
  let close = null;
  let shown = "";
  const open = async (next) => {
    const part = partOf(next);
    if (part === shown) return close?.update?.(next);
    close?.();
    close = null;
    shown = part;
    render(nothing, element);
    const { show } = await import(`../laws/${PARTS[part]}.js`);
    close = await show(element, next, app);
  };
  await open(route);
  const unmount = () => close?.();
  unmount.update = (next) => open(next).catch(complain);
  return unmount;
}
