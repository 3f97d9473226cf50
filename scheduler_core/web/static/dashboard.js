// Keys, the theme, dialogs, and what to do when the stream has no news. Pages work without it.
(() => {
  "use strict";
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);

  // The theme: as the system, light, dark.
  const themes = [["", "◐", "as the system"], ["light", "☀", "light"], ["dark", "☾", "dark"]];
  const button = byId("theme");
  const showTheme = () => {
    const found = themes.find(([name]) => name === (root.dataset.theme ?? "")) ?? themes[0];
    button.textContent = found[1];
    button.setAttribute("aria-label", `Theme: ${found[2]}`);
    document.dispatchEvent(new CustomEvent("theme"));
  };
  button.addEventListener("click", () => {
    const at = themes.findIndex(([name]) => name === (root.dataset.theme ?? ""));
    const [name] = themes[(at + 1) % themes.length];
    if (name) root.dataset.theme = name;
    else delete root.dataset.theme;
    try {
      localStorage.setItem("theme", name);
    } catch {
      // It holds for this page, then.
    }
    showTheme();
  });
  showTheme();

  // Dialogs: an action's form comes into the dialog, or is a page of its own without a script.
  const dialog = byId("dialog");
  document.addEventListener("htmx:after:swap", (event) => {
    const target = event.detail?.ctx?.target;
    if (!dialog || target?.id !== "dialog-body" || dialog.open) return;
    dialog.showModal();
    (dialog.querySelector("[autofocus]") ?? dialog.querySelector("button"))?.focus();
  });
  document.addEventListener("click", (event) => {
    const close = event.target.closest?.("[data-close]");
    if (close && dialog?.contains(close)) {
      event.preventDefault();
      dialog.close();
    } else if (event.target === dialog || event.target === byId("keys")) {
      event.target.close();
    }
  });
  // What could not be loaded into the dialog is asked for as a page: that says what was wrong.
  document.addEventListener("htmx:response:error", (event) => {
    const ctx = event.detail?.ctx;
    if (ctx?.target?.id === "dialog-body") location.assign(ctx.sourceElement.href);
  });

  // The stream: say so when there is no news, and sign in again when the session has ended.
  const stale = byId("stale");
  const setStale = (is) => { if (stale) stale.hidden = !is; };
  document.addEventListener("stale", () => setStale(true));
  document.addEventListener("htmx:sse:after:message", (event) => {
    if (!event.detail?.message?.event) setStale(false);
  });
  document.addEventListener("htmx:sse:error", (event) => {
    if (event.detail?.status === 401) location.reload();
    else setStale(true);
  });
  // Keys.
  const keys = byId("keys");
  byId("help")?.addEventListener("click", () => keys.showModal());
  let before = "";
  const rows = () => [...document.querySelectorAll("main .row-link")];
  const step = (by) => {
    const all = rows();
    const at = all.indexOf(document.activeElement);
    const next = all[at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, at + by))];
    next?.focus();
    next?.scrollIntoView({block: "nearest"});
  };
  const actions = {
    "?": () => keys?.showModal(),
    "/": () => document.querySelector("[data-first]")?.focus(),
    j: () => step(1),
    k: () => step(-1),
    n: () => document.querySelector("a[rel=next]")?.click(),
  };
  document.addEventListener("keydown", (event) => {
    const isTyping = event.target.closest?.("input, select, textarea, dialog");
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
    const section = before === "g" && document.querySelector(`.sections a[data-key="${CSS.escape(event.key)}"]`);
    before = event.key;
    const action = section ? () => section.click() : actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
})();
