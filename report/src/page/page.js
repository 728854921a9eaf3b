// The page is whole without this; it adds the logs, what hides rows, and copying. No network, no storage.
"use strict";
(() => {
  const root = document.documentElement;
  const $ = (id) => document.getElementById(id);
  root.classList.add("scripted");

  // Rows to show.
  const seq = document.querySelector(".seq");
  for (const box of document.querySelectorAll("input[data-kind]")) {
    const apply = () => seq.classList.toggle("no-" + box.dataset.kind, !box.checked);
    box.addEventListener("change", apply);
    apply();
  }

  // Copying a command.
  for (const button of document.querySelectorAll("button.copy")) {
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(button.dataset.copy);
        button.textContent = "Copied";
      } catch {
        const range = document.createRange();
        range.selectNodeContents(button.previousElementSibling);
        getSelection().removeAllRanges();
        getSelection().addRange(range);
        button.textContent = "Selected";
      }
    });
  }

  // A link into something folded unfolds it.
  const reveal = () => {
    const target = location.hash.length > 1 && $(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
    target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);

  // Logs.
  const data = $("log-data");
  if (!data) { reveal(); return; }
  const NAMES = ["TRACE", "DEBUG", "", "WARN", "ERROR"];
  const CHUNK = 200;
  const list = $("log-list"), count = $("log-count"), text = $("log-text"), level = $("log-level"), whoBox = $("log-who");
  let who = [], lines = [], shown = [], chunks = [];

  const unpack = async () => {
    const packed = Uint8Array.from(atob(data.textContent.trim()), (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    const all = (await new Response(stream).text()).split("\n");
    who = JSON.parse(all[0]).map(([name, lane]) => ({ name, lane, on: true }));
    let t = 0;
    lines = all.slice(1).map((line) => {
      const [dt, w, l, ...rest] = line.split("\t");
      t += Number(dt);
      return { t, w: Number(w), l: Number(l), s: rest.join("\t") };
    });
  };

  const moment = (t) => (t < 0 ? "−" : "") + (Math.abs(t) / 1e6).toFixed(3);
  const drawLine = (line) => {
    const p = document.createElement("p");
    p.className = "l" + (line.l < 2 ? 1 : line.l);
    const name = document.createElement("b");
    name.textContent = who[line.w].name;
    p.append(moment(line.t) + " ", name, " " + (NAMES[line.l] && NAMES[line.l] + " ") + line.s);
    return p;
  };

  // Only what is near the window is in the document: a list of 50,000 lines scrolls as a short one does.
  const fill = (chunk) => {
    if (chunk.filled) return;
    chunk.filled = true;
    chunk.style.height = "";
    chunk.append(...shown.slice(chunk.from, chunk.from + CHUNK).map(drawLine));
  };
  const watcher = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting, boundingClientRect } of entries) {
      if (isIntersecting) fill(target);
      else if (target.filled) {
        target.style.height = boundingClientRect.height + "px";
        target.replaceChildren();
        target.filled = false;
      }
    }
  }, { root: list, rootMargin: "1200px 0px" });

  const filter = () => {
    const words = text.value.toLowerCase(), least = Number(level.value);
    shown = lines.filter((line) => who[line.w].on && line.l >= least && (!words || line.s.toLowerCase().includes(words)));
    watcher.disconnect();
    chunks = [];
    for (let from = 0; from < shown.length; from += CHUNK) {
      const chunk = document.createElement("div");
      chunk.className = "c";
      chunk.from = from;
      chunk.style.height = Math.min(CHUNK, shown.length - from) * 20 + "px";
      chunks.push(chunk);
    }
    list.replaceChildren(...chunks);
    if (chunks.length) fill(chunks[0]);
    for (const chunk of chunks) watcher.observe(chunk);
    const n = (number) => number.toLocaleString("en").replaceAll(",", "\u202f");
    count.textContent = n(shown.length) + " of " + n(lines.length) + " lines";
  };

  const goTo = (t) => {
    let at = shown.findIndex((line) => line.t >= t);
    if (at < 0) at = shown.length - 1;
    if (at < 0) return;
    const index = Math.floor(at / CHUNK), chunk = chunks[index];
    for (const near of [chunks[index - 1], chunk, chunks[index + 1]]) if (near) fill(near);
    for (const old of list.querySelectorAll(".at")) old.classList.remove("at");
    const line = chunk.children[at - chunk.from];
    line.classList.add("at");
    $("logs").scrollIntoView();
    list.scrollTop = line.offsetTop - list.clientHeight / 3;
    list.focus({ preventScroll: true });
  };

  const boxes = [];
  const choose = (names) => {
    const any = names.length && who.some((one) => names.includes(one.lane) || names.includes(one.name));
    who.forEach((one, at) => {
      one.on = !any || names.includes(one.lane) || names.includes(one.name);
      boxes[at].checked = one.on;
    });
  };
  const showAll = () => { choose([]); text.value = ""; level.value = "0"; filter(); };

  const begin = async () => {
    try {
      await unpack();
    } catch (error) {
      count.textContent = "This browser cannot unpack the logs: " + error;
      return;
    }
    who.forEach((one) => {
      const label = document.createElement("label"), box = document.createElement("input");
      box.type = "checkbox";
      box.checked = true;
      box.addEventListener("change", () => { one.on = box.checked; filter(); });
      boxes.push(box);
      label.append(box, " " + one.name);
      whoBox.append(label);
    });
    let later;
    text.addEventListener("input", () => { clearTimeout(later); later = setTimeout(filter, 120); });
    level.addEventListener("change", filter);
    $("log-all").addEventListener("click", showAll);
    filter();
    // `#log=T,alice,bob` is a place in the logs, so that going back and sending a link work.
    const place = () => {
      const [, t, names] = /^#log=(-?\d+)(.*)$/.exec(location.hash) || [];
      if (t === undefined) return false;
      text.value = "";
      level.value = "0";
      choose(names.split(",").filter(Boolean).map(decodeURIComponent));
      filter();
      goTo(Number(t));
      return true;
    };
    addEventListener("hashchange", place);
    document.addEventListener("click", (event) => {
      const link = event.target.closest("a.lg, a.tolog");
      if (!link) return;
      event.preventDefault();
      const { t, from, to, lane } = link.closest("[data-t]").dataset;
      const names = [from, to, ...(lane ? lane.split(",") : [])].filter(Boolean).map(encodeURIComponent);
      const hash = "#log=" + [t, ...names].join(",");
      if (location.hash === hash) place();
      else location.hash = hash;
    });
    if (!place()) reveal();
    root.dataset.ready = "logs";
  };
  begin();
})();
