import { html, render } from "../dom.js";

export function mount(element, route, app) {
  app.title("compare");
  render(html`<h1>compare</h1>`, element);
  return () => {};
}
