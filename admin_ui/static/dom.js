// Elements are only ever made here, and text only ever becomes a text node.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [type, handler] of Object.entries(value)) node.addEventListener(type, handler);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return node;
}

export const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
export const s = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
export const byId = (id) => document.getElementById(id);

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const shown = new WeakMap();

// Renders `data` into `box` when it changed since last time. Focus, and which details are open, survive:
// elements that matter carry a `data-key` that names the same thing in the old and in the new tree.
export function render(box, data, make) {
  const mark = JSON.stringify(data);
  if (shown.get(box) === mark) return;
  shown.set(box, mark);
  const focused = box.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  const open = new Set([...box.querySelectorAll("details[open][data-key]")].map((node) => node.dataset.key));
  box.replaceChildren(...[make(data)].flat());
  for (const node of box.querySelectorAll("details[data-key]")) if (open.has(node.dataset.key)) node.open = true;
  if (focused === undefined) return;
  for (const node of box.querySelectorAll("[data-key]")) {
    if (node.dataset.key === focused) node.focus({ preventScroll: true });
  }
}
