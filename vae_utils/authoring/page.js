// anywidget's half of the page: a model as its front end offers it, without a kernel behind it.
class Model {
  listeners = {};
  constructor({ state, buffers }) {
    this.state = state;
    for (const { path, data } of buffers) {
      const owner = path.slice(0, -1).reduce((part, key) => part[key], state);
      const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
      owner[path.at(-1)] = new DataView(bytes.buffer);
    }
  }
  get(name) { return this.state[name]; }
  set(name, value) {
    this.state[name] = value;
    for (const event of [`change:${name}`, "change"]) {
      for (const callback of [...(this.listeners[event] ?? [])]) callback(this, value);
    }
  }
  on(event, callback) { (this.listeners[event] ??= new Set()).add(callback); }
  off(event, callback) {
    if (callback) this.listeners[event]?.delete(callback);
    else delete this.listeners[event];
  }
  save_changes() {}
  send() {}
  kernel = false;                      // for a widget that would wait for an answer
}

const { sources, styles, widgets } = JSON.parse(document.getElementById("vae-page-data").textContent);

for (const style of styles) {
  const element = document.createElement("style");
  element.textContent = style;
  document.head.append(element);
}

async function start({ source, ...saved }) {
  const module = await import("data:text/javascript," + encodeURIComponent(sources[source]));
  const exported = module.default;
  const { initialize, render } = typeof exported === "function" ? await exported() : exported;
  const model = new Model(saved);
  await initialize?.({ model });
  return { model, render };
}

const started = {};
for (const holder of document.querySelectorAll(".vae-page")) {
  const el = document.createElement("div");
  const still = holder.firstElementChild;
  try {
    const { model, render } = await (started[holder.dataset.model] ??= start(widgets[holder.dataset.model]));
    holder.append(el);
    await render({ model, el });
    // One that has to tell the reader that something is missing keeps its picture.
    if (!el.querySelector(".vae-message:not(:empty)")) still?.remove();
  } catch (error) {
    el.className = "vae-error";
    el.setAttribute("role", "alert");
    el.textContent = `This piece could not start in this browser: ${error}`;
    holder.append(el);
    console.error(error);
  }
}
