(() => {
  const box = document.getElementById("explorer"), source = document.getElementById("explorer-data");
  if (!box || !source) return;
  const data = JSON.parse(source.textContent);
  const get = (name) => box.querySelector(`.${name}`);
  const canvas = get("canvas"), brush = canvas.getContext("2d"), legend = get("legend"), about = get("about"), found = get("found");
  const SCALE = 4095, RAMP = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
  // Each shape is drawn around 0 with a radius of 1.
  const SHAPES = [
    (p) => p.arc(0, 0, 1, 0, 7), (p) => p.rect(-.85, -.85, 1.7, 1.7),
    (p) => polygon(p, [[0, -1.1], [1, .8], [-1, .8]]), (p) => polygon(p, [[0, -1.2], [1, 0], [0, 1.2], [-1, 0]]),
    (p) => polygon(p, [[0, 1.1], [1, -.8], [-1, -.8]]), (p) => { p.rect(-1.1, -.4, 2.2, .8); p.rect(-.4, -1.1, .8, 2.2); },
    (p) => polygon(p, [[-1, -1], [1, 1], [1, -1], [-1, 1]]), (p) => polygon(p, [[-1.1, 0], [.8, -1], [.8, 1]]),
  ];
  function polygon(path, points) { path.moveTo(...points[0]); points.slice(1).forEach((point) => path.lineTo(...point)); path.closePath(); }

  let view = data.views[0], column = data.columns[0], hidden = new Set(), chosen = -1, zoom = 1, centre = [SCALE / 2, SCALE / 2], drag = null;
  const models = [...new Set(data.views.map((item) => item.model))];
  const row = (index) => view.rows ? view.rows[index] : index;
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  // A custom property keeps `light-dark(…)` as it stands; an element resolves it.
  const resolved = (name) => { const probe = document.createElement("i"); probe.style.color = `var(${name})`; box.append(probe); const value = getComputedStyle(probe).color; probe.remove(); return value; };
  let palette = [], ink = "", muted = "";
  const range = (item) => { const known = item.values.filter((value) => value !== null); return [Math.min(...known), Math.max(...known)]; };
  const ramp = (share) => {
    const place = Math.min(3.999, Math.max(0, share * 4)), low = Math.floor(place), part = place - low;
    return `rgb(${RAMP[low].map((value, i) => Math.round(value + part * (RAMP[low + 1][i] - value))).join(" ")})`;
  };
  const levelOf = (sample) => column.levels ? column.codes[sample] : (column.values[sample] === null ? -1 : 0);
  const cellOf = (item, sample) => item.levels ? (item.codes[sample] < 0 ? "\u2013" : item.levels[item.codes[sample]]) : (item.values[sample] === null ? "\u2013" : item.values[sample].toLocaleString("en"));
  // Once a view: a page may hold ten thousand samples.
  let extent = [1, 1];
  const measure = () => { extent = [Math.max(1, ...view.x), Math.max(1, ...view.y)]; };

  function frame() {
    const width = canvas.clientWidth, height = canvas.clientHeight, pad = 16;
    return { width, height, scale: zoom * Math.min((width - 2 * pad) / extent[0], (height - 2 * pad) / extent[1]) };
  }
  const place = (index, at) => [at.width / 2 + (view.x[index] - centre[0]) * at.scale, at.height / 2 - (view.y[index] - centre[1]) * at.scale];
  function draw() {
    const now = frame(), { width, height } = now, ratio = window.devicePixelRatio || 1;
    if (!width) return;
    canvas.width = width * ratio; canvas.height = height * ratio;
    brush.setTransform(ratio, 0, 0, ratio, 0, 0);
    brush.clearRect(0, 0, width, height);
    const n = view.x.length, radius = Math.min(7, (n < 600 ? 4 : n < 3000 ? 3 : 2.1) * Math.sqrt(zoom));
    const [low, high] = column.levels ? [0, 0] : range(column);
    const order = view.x.map((_, i) => i).sort((a, b) => (levelOf(row(a)) >= 0) - (levelOf(row(b)) >= 0));
    order.forEach((i) => {
      const sample = row(i), level = levelOf(sample);
      if (hidden.has(level)) return;
      const [x, y] = place(i, now);
      if (x < -9 || y < -9 || x > width + 9 || y > height + 9) return;
      brush.save(); brush.translate(x, y); brush.scale(radius, radius); brush.beginPath();
      (level < 0 ? SHAPES[0] : column.levels ? SHAPES[level % SHAPES.length] : SHAPES[0])(brush);
      brush.globalAlpha = level < 0 ? .35 : .8;
      brush.fillStyle = level < 0 ? muted : column.levels ? palette[level % palette.length] : ramp((column.values[sample] - low) / (high - low || 1));
      brush.fill(); brush.restore();
    });
    if (chosen >= 0) { const [x, y] = place(chosen, now); brush.lineWidth = 2.5; brush.strokeStyle = ink; brush.beginPath(); brush.arc(x, y, radius + 5, 0, 7); brush.stroke(); }
    brush.fillStyle = muted; brush.font = "12px system-ui, sans-serif";
    brush.fillText(`${view.method} 1 \u2192`, 10, height - 9);
    brush.save(); brush.translate(15, height - 22); brush.rotate(-Math.PI / 2); brush.fillText(`${view.method} 2 \u2192`, 0, 0); brush.restore();
  }
  function element(name, text, parent, set = {}) { const made = document.createElement(name); if (text !== null) made.textContent = text; Object.assign(made, set); parent.append(made); return made; }
  function drawLegend() {
    legend.replaceChildren();
    get("ramp-box").hidden = Boolean(column.levels);
    if (!column.levels) {
      const [low, high] = range(column);
      get("ramp").style.background = `linear-gradient(to right, ${RAMP.map((value) => `rgb(${value.join(" ")})`).join(",")})`;
      get("ends").replaceChildren(); [low, high].forEach((value) => element("span", value.toLocaleString("en"), get("ends")));
    }
    const counts = new Map();
    view.x.forEach((_, i) => { const level = levelOf(row(i)); counts.set(level, (counts.get(level) || 0) + 1); });
    const levels = column.levels ? column.levels.map((name, level) => [name, level]) : [];
    if (counts.has(-1)) levels.push(["not known", -1]);
    levels.filter(([, level]) => counts.has(level)).forEach(([name, level]) => {
      const button = element("button", null, element("li", null, legend), { type: "button" });
      button.setAttribute("aria-pressed", String(!hidden.has(level)));
      const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), path = document.createElementNS(svg.namespaceURI, "path");
      svg.setAttribute("viewBox", "-1.5 -1.5 3 3"); svg.setAttribute("aria-hidden", "true");
      path.setAttribute("d", outline(level < 0 ? 0 : level % SHAPES.length)); path.style.fill = level < 0 ? "var(--muted)" : `var(--c${level % 7})`;
      svg.append(path); button.append(svg);
      element("span", data.samples ? `${name} (${counts.get(level).toLocaleString("en")})` : name, button);
      button.addEventListener("click", () => { if (!hidden.delete(level)) hidden.add(level); button.setAttribute("aria-pressed", String(!hidden.has(level))); draw(); });
    });
  }
  function outline(shape) {
    const parts = [], pen = { moveTo: (x, y) => parts.push(`M${x} ${y}`), lineTo: (x, y) => parts.push(`L${x} ${y}`), closePath: () => parts.push("Z"),
      arc: () => parts.push("M-1 0A1 1 0 1 1 1 0A1 1 0 1 1 -1 0Z"), rect: (x, y, w, h) => parts.push(`M${x} ${y}h${w}v${h}h${-w}Z`) };
    SHAPES[shape](pen);
    return parts.join("");
  }
  function choose(index, isQuiet) {
    if (chosen === index) return;
    chosen = index; about.replaceChildren(); draw();
    if (index < 0) { element("span", "Point at a sample, or move with the arrow keys.", about, { className: "hint" }); return; }
    const sample = row(index), list = document.createElement("dl");
    if (data.samples) element("b", data.samples[sample], about);
    if (data.patients && data.patients[sample]) { element("dt", "patient", list); element("dd", data.patients[sample], list); }
    data.columns.forEach((item) => { element("dt", item.label, list); element("dd", cellOf(item, sample), list); });
    about.append(list);
    about.setAttribute("aria-live", isQuiet ? "off" : "polite");
  }
  function nearest(x, y, reach) {
    const now = frame();
    let best = -1, least = reach * reach;
    view.x.forEach((_, i) => { if (hidden.has(levelOf(row(i)))) return; const [px, py] = place(i, now), d = (px - x) ** 2 + (py - y) ** 2; if (d < least) { least = d; best = i; } });
    return best;
  }
  function step(dx, dy) {
    if (chosen < 0) { choose(nearest(canvas.clientWidth / 2, canvas.clientHeight / 2, 1e6)); return; }
    const now = frame(), [x, y] = place(chosen, now);
    let best = -1, least = Infinity;
    view.x.forEach((_, i) => {
      if (i === chosen || hidden.has(levelOf(row(i)))) return;
      const [px, py] = place(i, now), along = (px - x) * dx + (py - y) * dy, across = Math.abs((px - x) * dy) + Math.abs((py - y) * dx);
      if (along > .5 && along + 2 * across < least) { least = along + 2 * across; best = i; }
    });
    if (best >= 0) choose(best);
  }
  function zoomBy(factor) { zoom = Math.min(40, Math.max(1, zoom * factor)); if (zoom === 1) middle(); draw(); }
  function middle() { centre = [extent[0] / 2, extent[1] / 2]; }
  function setView() {
    const model = get("model").value, method = get("method").value;
    const old = view, sample = chosen < 0 ? -1 : row(chosen);
    view = data.views.find((item) => item.model === model && item.method === method) || data.views.find((item) => item.model === model);
    if (view !== old) { zoom = 1; measure(); middle(); }
    get("method").value = view.method;
    chosen = -1;
    if (sample >= 0) { const index = view.rows ? view.rows.indexOf(sample) : sample; choose(index); } else choose(-2);
    canvas.setAttribute("aria-label", `${view.method} of the embedding of ${view.model}, ${view.x.length} samples, coloured by ${column.label}. Arrow keys move from sample to sample, plus and minus zoom.`);
    drawLegend(); draw();
  }
  function search() {
    const text = get("search").value.trim().toLowerCase();
    found.replaceChildren();
    if (!text) return;
    const hits = view.x.map((_, i) => i).filter((i) => data.samples[row(i)].toLowerCase().includes(text) || (data.patients[row(i)] || "").toLowerCase().includes(text));
    element("p", hits.length ? `${hits.length.toLocaleString("en")} found` : "No such sample or patient here.", found, { className: "hint" });
    hits.slice(0, 6).forEach((index) => element("button", data.samples[row(index)], found, { type: "button" }).addEventListener("click", () => choose(index)));
    if (hits.length) choose(hits[0], true);
  }
  function themed() { palette = [0, 1, 2, 3, 4, 5, 6].map((n) => resolved(`--c${n}`)); ink = resolved("--ink"); muted = resolved("--muted"); draw(); }

  models.forEach((name) => element("option", name, get("model"), { value: name }));
  [...new Set(data.views.map((item) => item.method))].forEach((name) => element("option", name, get("method"), { value: name }));
  data.columns.forEach((item, index) => element("option", item.label, get("colour"), { value: String(index) }));
  box.querySelectorAll(".if-model").forEach((item) => { item.hidden = models.length < 2; });
  box.querySelectorAll(".if-samples").forEach((item) => { item.hidden = !data.samples; });
  ["model", "method"].forEach((name) => get(name).addEventListener("change", setView));
  get("colour").addEventListener("change", () => { column = data.columns[Number(get("colour").value)]; hidden = new Set(); setView(); });
  get("search").addEventListener("input", search);
  const at = (event) => { const area = canvas.getBoundingClientRect(); return [event.clientX - area.left, event.clientY - area.top]; };
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = at(event);
    if (drag && zoom > 1) { const { scale } = frame(); centre = [drag[2] - (x - drag[0]) / scale, drag[3] + (y - drag[1]) / scale]; draw(); return; }
    const index = nearest(x, y, 14);
    if (index >= 0) choose(index, true);
  });
  canvas.addEventListener("pointerdown", (event) => { const [x, y] = at(event); drag = [x, y, ...centre]; const index = nearest(x, y, 18); if (index >= 0) choose(index); });
  window.addEventListener("pointerup", () => { drag = null; });
  canvas.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (moves[event.key]) step(...moves[event.key]);
    else if (event.key === "+" || event.key === "=") zoomBy(1.5);
    else if (event.key === "-") zoomBy(1 / 1.5);
    else if (event.key === "Escape") choose(-1);
    else return;
    event.preventDefault();
  });
  get("in").addEventListener("click", () => zoomBy(1.5));
  get("out").addEventListener("click", () => zoomBy(1 / 1.5));
  get("reset").addEventListener("click", () => { zoom = 1; middle(); draw(); });
  document.addEventListener("themed", themed);
  new ResizeObserver(draw).observe(canvas);
  box.hidden = false;
  document.querySelectorAll(".without-script").forEach((item) => { item.hidden = true; });
  measure(); middle(); setView(); themed();
})();
