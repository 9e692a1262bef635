// Everything here is a convenience: each page does its whole work without this file. Words come from the page, in the
// page's language.

// takeOver goes on without leaving this page in the history, so that Back does not lead into a loop.
function takeOver(link) {
  if (link) location.replace(link.href);
}

// addReveal puts a button beside a password field that shows what was typed, and a warning about Caps Lock below it.
function addReveal(box) {
  const input = box.querySelector("input");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "button reveal-button";
  const show = (visible) => {
    input.type = visible ? "text" : "password";
    button.textContent = visible ? box.dataset.hideShort : box.dataset.showShort;
    button.setAttribute("aria-label", visible ? box.dataset.hide : box.dataset.show);
  };
  show(false);
  button.setAttribute("aria-controls", input.id);
  button.addEventListener("click", () => {
    show(input.type === "password");
    input.focus();
  });
  // A password sent from a text field would be remembered by the browser's form history.
  input.form?.addEventListener("submit", () => show(false));
  box.append(button);

  const hint = document.createElement("p");
  hint.className = "hint caps";
  hint.setAttribute("role", "status");
  box.after(hint);
  const check = (event) => {
    const on = event.getModifierState?.("CapsLock");
    if (on !== undefined) hint.textContent = on ? box.dataset.caps : "";
  };
  input.addEventListener("keydown", check);
  input.addEventListener("keyup", check);
  input.addEventListener("blur", () => { hint.textContent = ""; });
}

// addCopy puts a button beside a secret that copies it.
function addCopy(box) {
  if (!navigator.clipboard) return;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "button";
  button.textContent = box.dataset.label;
  button.setAttribute("aria-live", "polite");
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(box.querySelector("code").textContent);
    button.textContent = box.dataset.done;
  });
  box.append(button);
}

// localTime writes a time in the reader's own zone, in their own variety of the page's language; the written one stays
// as the title.
function localTime(element) {
  const at = new Date(element.dateTime);
  if (Number.isNaN(at.getTime())) return;
  const language = document.documentElement.lang;
  const variety = navigator.languages.find((l) => l.split("-")[0] === language) ?? language;
  const style = { day: "numeric", month: "short", year: "numeric" };
  if (element.dataset.local === "time") Object.assign(style, { hour: "numeric", minute: "2-digit" });
  element.title = element.textContent;
  element.textContent = new Intl.DateTimeFormat(variety, style).format(at);
}

takeOver(document.querySelector("a[data-replace]"));
document.querySelectorAll("[data-reveal]").forEach(addReveal);
document.querySelectorAll("[data-copy]").forEach(addCopy);
document.querySelectorAll("time[data-local]").forEach(localTime);
document.querySelector("[data-focus]")?.focus();
