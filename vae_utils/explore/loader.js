// What anywidget imports for each widget that is made, and a browser keeps whatever it has imported until the page is
// closed. So this is short. The long script comes as a value of the model, and the page imports it once, however often
// a cell runs again. After a restart the kernel may send a newer script: that is another text, and is imported too.

const imported = (globalThis.vaeUtilsScripts ??= new Map());       // from a script's text to its module, a promise

function moduleOf(model) {
  const text = model.get("script");
  if (!imported.has(text)) {
    const address = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
    imported.set(text, import(address).finally(() => URL.revokeObjectURL(address)));
  }
  return imported.get(text);
}

export default {
  async initialize({ model }) { return (await moduleOf(model)).default.initialize({ model }); },
  async render({ model, el }) { return (await moduleOf(model)).default.render({ model, el }); },
};
