// Draws the HTML that Python has made, replaces only the parts that have changed, and tells what was picked.
const drawn = new WeakMap(); // What each sheet shows: its frame, in which the parts hang, and each part as text.

export default function ({ data, parentElement, setTriggerValue }) {
  const sheet = parentElement.querySelector(".sheet");
  draw(sheet, data);
  sheet.onclick = (event) => pick(event, event.target);
  sheet.onkeydown = (event) => {
    const scrolled = event.target.closest(".scrolls");
    if (scrolled && scrolled.scrollHeight > scrolled.clientHeight && event.key.startsWith("Arrow")) event.stopPropagation(); // They scroll, and vote for nobody.
    if ((event.key === "Enter" || event.key === " ") && event.target.dataset.pick !== undefined) pick(event, event.target);
  };
  function pick(event, target) {
    const picked = target.closest("[data-pick]");
    if (!picked || String(parentElement.getSelection?.() ?? "")) return; // Who selects text picks nothing.
    event.preventDefault();
    setTriggerValue("picked", picked.dataset.pick);
  }
}

function draw(sheet, data) {
  const next = document.createElement("template");
  next.innerHTML = data;
  const parts = [...next.content.querySelectorAll("[data-part]")];
  const texts = parts.map((part) => part.outerHTML);
  const places = parts.map((part) => document.createComment(part.dataset.part));
  parts.forEach((part, index) => part.replaceWith(places[index]));
  const before = drawn.get(sheet);
  const now = { frame: next.innerHTML, texts, parts };
  if (before && before.frame === now.frame && sheet.hasChildNodes()) {
    texts.forEach((text, index) => {
      if (text !== before.texts[index]) become(before.parts[index], parts[index]);
      parts[index] = before.parts[index];
    });
  } else {
    places.forEach((place, index) => place.replaceWith(parts[index]));
    sheet.replaceChildren(next.content);
  }
  drawn.set(sheet, now);
}

// The part stays the element that it was, so that a click which begins on it ends on it.
function become(part, next) {
  for (const { name } of [...part.attributes]) if (!next.hasAttribute(name)) part.removeAttribute(name);
  for (const { name, value } of next.attributes) part.setAttribute(name, value);
  part.replaceChildren(...next.childNodes);
}
