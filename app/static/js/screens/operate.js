import { html, render } from "../dom.js";

export function mount(element, route, app) {
  app.title("operate");
  render(html`<h1>operate</h1>`, element);
  return () => {};
}
