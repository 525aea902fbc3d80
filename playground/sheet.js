// Draws the HTML that Python has made, replaces only the parts that have changed, and tells what was picked.
export default function ({ data, parentElement, setTriggerValue }) {
  const sheet = parentElement.querySelector(".sheet");
  const next = document.createElement("template");
  next.innerHTML = data;
  const named = (root) => [...root.querySelectorAll("[data-part]")];
  const before = named(sheet), after = named(next.content);
  const same = before.length > 0 && before.length === after.length && sheet.dataset.frame === frame(next.content);
  if (same) {
    after.forEach((part, index) => {
      if (part.outerHTML !== before[index].outerHTML) before[index].replaceWith(part);
    });
  } else {
    sheet.dataset.frame = frame(next.content);
    sheet.replaceChildren(next.content);
  }
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

// What the parts hang in: the sheet without what is inside them.
function frame(root) {
  const copy = root.cloneNode(true);
  copy.querySelectorAll("[data-part]").forEach((part) => part.replaceWith(part.dataset.part));
  const holder = document.createElement("div");
  holder.append(copy);
  return holder.innerHTML;
}
