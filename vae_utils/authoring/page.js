// anywidget's half of the page: a model as its front end offers it, without a kernel behind it.
class Model {
  listeners = {};
  constructor(state) {
    this.state = state;
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

// --- parts of the page: each is its text, or says in which file it lies (parts.py)

const isApart = (part) => typeof part !== "string";
const onTheWay = {};

async function textOf(part) {
  return isApart(part) ? (onTheWay[part.name] ??= load(part)) : part;
}

// By a script, because a page that was opened from a disk may not fetch.
function load({ file, name, sum }) {
  return new Promise((resolve, reject) => {
    const refuse = (got) => reject(new Error(`${file} was expected beside this page, but it ${got}; `
      + "reload the page, or get this site again. Until then there is a still picture."));
    const script = document.createElement("script");
    script.src = file;
    script.onerror = () => refuse("did not arrive");
    script.onload = () => {
      const text = globalThis.vaeParts?.[name];
      if (text === undefined || checksum(text) !== sum) return refuse("is damaged");
      delete globalThis.vaeParts[name];
      return resolve(text);
    };
    document.head.append(script);
  });
}

// Adler-32 of the text's UTF-16, as zlib has it.
function checksum(text) {
  let a = 1, b = 0;
  const add = (byte) => {
    a = (a + byte) % 65521;
    b = (b + a) % 65521;
  };
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    add(code & 255);
    add(code >> 8);
  }
  return b * 65536 + a;
}

// --- widgets

const dressed = {};
for (const style of styles) if (!isApart(style)) dress(style);

async function dress(style) {
  const element = document.createElement("style");
  element.textContent = await textOf(style);
  document.head.append(element);
}

async function start({ source, state: written, buffers }) {
  const state = JSON.parse(await textOf(written));
  await Promise.all(styles.map((style, i) => isApart(style) && (dressed[i] ??= dress(style))));
  await Promise.all(buffers.map(async ({ path, data }) => {
    const owner = path.slice(0, -1).reduce((part, key) => part[key], state);
    const bytes = Uint8Array.from(atob(await textOf(data)), (character) => character.charCodeAt(0));
    owner[path.at(-1)] = new DataView(bytes.buffer);
  }));
  const code = await textOf(sources[source]);
  const module = await import("data:text/javascript," + encodeURIComponent(code));
  const exported = module.default;
  const { initialize, render } = typeof exported === "function" ? await exported() : exported;
  const model = new Model(state);
  await initialize?.({ model });
  return { model, render };
}

const started = {};

async function wake(holder) {
  const el = document.createElement("div");
  const still = holder.firstElementChild;
  try {
    const { model, render } = await (started[holder.dataset.model] ??= start(widgets[holder.dataset.model]));
    holder.append(el);
    await render({ model, el });
    // One that has to tell the reader that something is missing keeps its picture.
    if (still) still.hidden = !el.querySelector(".vae-message:not(:empty)");
  } catch (error) {
    el.className = "vae-error";
    el.setAttribute("role", "alert");
    el.textContent = `This piece could not start in this browser: ${error}`;
    holder.append(el);
    console.error(error);
  }
}

const holders = document.querySelectorAll(".vae-page");
if (sources.some(isApart)) {           // what a widget needs is asked for when the reader is about to see it
  const watch = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      watch.unobserve(target);
      wake(target);
    }
  }, { rootMargin: "300px" });
  for (const holder of holders) watch.observe(holder);
} else {
  (async () => { for (const holder of holders) await wake(holder); })();
}
