import { html, render } from "../dom.js";

export function mount(element, route, app) {
  app.title("laws");
  render(html`<h1>laws</h1>`, element);
  return () => {};
}
