// The end of a static copy's script: what a kernel's model would say is read from the page.
{
  const unpack = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const decode = (_, value) => (value && value.base64 !== undefined ? unpack(value.base64) : value);
  const wake = (tries) => {
    const waiting = document.querySelectorAll('[data-oneshot="KEY"]');
    for (const figure of waiting) {
      const state = JSON.parse(figure.querySelector("script").textContent, decode);
      const model = { get: (name) => state[name] };
      for (const name of ["set", "save_changes", "on", "off", "send"]) model[name] = () => {};
      const el = document.createElement("div");
      render({ model, el });
      figure.replaceWith(el.firstElementChild);
    }
    // A notebook may run the script a moment before it shows the element.
    if (!waiting.length && tries) setTimeout(wake, 100, tries - 1);
  };
  wake(20);
}
