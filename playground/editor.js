// A text area with numbered lines. What is wrong on a line is marked at its number and told below, for the line one is on.
export default function ({ data, parentElement, setStateValue }) {
  const root = parentElement.querySelector(".editor");
  const area = root.querySelector("textarea"), mirror = root.querySelector(".mirror"), note = root.querySelector(".note");
  area.setAttribute("aria-label", data.label);
  if (root.dataset.document !== data.document) {
    // Another text was opened; what is typed into the same one is never overwritten by what comes back.
    clearTimeout(root.waiting);
    root.waiting = undefined;
    root.dataset.document = data.document;
    area.value = data.text;
    root.sent = data.text;
    root.querySelector(".scrolling").scrollTop = 0;
  }
  draw();
  tell();
  area.oninput = () => {
    draw();
    clearTimeout(root.waiting);
    root.waiting = setTimeout(send, 400);
  };
  area.onscroll = () => (area.scrollTop = 0); // It is as high as its text; what scrolls is around it.
  area.onblur = send;
  area.onkeyup = area.onclick = tell;
  area.onkeydown = (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) send();
  };
  mirror.onclick = (event) => {
    const line = event.target.closest(".line");
    if (line) go([...mirror.children].indexOf(line) + 1);
  };
  return send; // Whoever leaves the page keeps the last words too.

  function send() {
    clearTimeout(root.waiting);
    root.waiting = undefined;
    if (area.value === root.sent) return;
    root.sent = area.value;
    setStateValue("text", area.value);
  }

  // Only the lines between those that are as they were at the beginning and at the end are made anew.
  function draw() {
    const marks = new Map();
    for (const mark of data.marks) marks.set(mark.line, [...(marks.get(mark.line) ?? []), mark]);
    const texts = area.value.split("\n");
    const wanted = texts.map((text, index) => {
      const found = marks.get(index + 1) ?? [];
      // What follows the last line end is no line of the file, and yet takes its room.
      const end = index > 0 && index + 1 === texts.length && text === "";
      const kind = end ? " end" : found.some((mark) => mark.serious) ? " serious" : found.length ? " untidy" : "";
      return { text, kind, title: found.map((mark) => mark.text).join("\n") };
    });
    const same = (one, other) => one && other && one.text === other.text && one.kind === other.kind && one.title === other.title;
    const drawn = root.drawn ?? [];
    let from = 0, kept = 0;
    while (from < wanted.length && same(wanted[from], drawn[from])) from++;
    while (kept < Math.min(wanted.length, drawn.length) - from && same(wanted.at(-1 - kept), drawn.at(-1 - kept))) kept++;
    const after = mirror.children[drawn.length - kept] ?? null;
    for (const old of [...mirror.children].slice(from, drawn.length - kept)) old.remove();
    for (const each of wanted.slice(from, wanted.length - kept)) mirror.insertBefore(made(each), after);
    root.drawn = wanted;
    area.scrollTop = 0;
  }

  function made({ text, kind, title }) {
    const line = document.createElement("div");
    line.className = "line" + kind;
    line.textContent = text || " ";
    if (title) line.title = title;
    return line;
  }

  function tell() {
    const here = area.value.slice(0, area.selectionStart).split("\n").length;
    const focused = area.getRootNode().activeElement === area;
    const mark = (focused && data.marks.find((each) => each.line === here)) || data.marks.find((each) => each.serious) || data.marks[0];
    note.className = "note" + (mark ? (mark.serious ? " serious" : " untidy") : "");
    note.textContent = mark ? `line ${mark.line}: ${mark.text}` : "no findings";
  }

  function go(number) {
    const start = area.value.split("\n").slice(0, number - 1).join("\n").length + (number > 1 ? 1 : 0);
    area.focus();
    area.setSelectionRange(start, start);
    tell();
  }
}
