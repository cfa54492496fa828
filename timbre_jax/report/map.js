"use strict";
// One page for two uses: opened as a file it plays the sounds it holds; served, it asks the server for new ones.
const data = JSON.parse(document.getElementById("data").textContent);
const $ = id => document.getElementById(id);
const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));
const sounds = data.sounds, classes = data.classes, served = data.served;
const shown = classes.map(() => true);
const canvas = $("map"), pen = canvas.getContext("2d");
let view = { x: 0.5, y: 0.5, span: 1.08 };  // centre and width of what is seen, in map units
let cursor = { x: 0.5, y: 0.5 }, chosen = null, hovered = -1, near = [], found = null, drawn = 0;

// ---- colours -------------------------------------------------------------------------------------------------------
const MAGMA = ["#000004", "#180f3d", "#440f76", "#721f81", "#9e2f7f", "#cd4071", "#f1605d", "#fd9668", "#feca8d", "#fcfdbf"];
const palette = new Uint8ClampedArray(256 * 3);
for (let i = 0; i < 256; i++) {
  const at = i / 255 * (MAGMA.length - 1), k = Math.min(Math.floor(at), MAGMA.length - 2), t = at - k;
  for (let c = 0; c < 3; c++) {
    const value = n => parseInt(MAGMA[n].slice(1 + 2 * c, 3 + 2 * c), 16);
    palette[3 * i + c] = value(k) * (1 - t) + value(k + 1) * t;
  }
}
function picture(pixels, rows, columns) {
  const made = document.createElement("canvas"); made.width = columns; made.height = rows;
  const image = made.getContext("2d").createImageData(columns, rows);
  for (let i = 0; i < rows * columns; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = palette[3 * pixels[i] + c];
    image.data[4 * i + 3] = 255;
  }
  made.getContext("2d").putImageData(image, 0, 0);
  return made;
}
function show(target, pixels, rows, columns) {
  target.width = columns * 2; target.height = rows * 2;
  const p = target.getContext("2d"); p.imageSmoothingEnabled = true;
  p.drawImage(picture(pixels, rows, columns), 0, 0, target.width, target.height);
}

// ---- the map -------------------------------------------------------------------------------------------------------
const width = () => canvas.clientWidth, height = () => canvas.clientHeight;
const span = () => ({ x: view.span, y: view.span * height() / width() });
const across = x => ((x - view.x) / span().x + 0.5) * width();
const down = y => (0.5 - (y - view.y) / span().y) * height();
const mapX = px => (px / width() - 0.5) * span().x + view.x;
const mapY = py => (0.5 - py / height()) * span().y + view.y;
const radius = () => Math.max(2.5, Math.min(7, 90 / Math.sqrt(sounds.length))) * Math.min(2.2, Math.sqrt(1.08 / view.span));
function draw() {
  if (drawn) return;
  drawn = requestAnimationFrame(() => { drawn = 0; paint(); });
}
function paint() {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width() * ratio); canvas.height = Math.round(height() * ratio);
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  const style = getComputedStyle(document.documentElement), colour = name => style.getPropertyValue(name).trim();
  pen.strokeStyle = colour("--line"); pen.lineWidth = 1;
  pen.strokeRect(across(0), down(1), across(1) - across(0), down(0) - down(1));
  const r = radius();
  sounds.forEach((s, i) => {
    if (!shown[s.class]) return;
    pen.globalAlpha = found && !found.has(i) ? 0.12 : 0.85;
    pen.fillStyle = classes[s.class].colour;
    pen.beginPath(); pen.arc(across(s.x), down(s.y), found && found.has(i) ? r * 1.4 : r, 0, 7); pen.fill();
  });
  pen.globalAlpha = 1;
  pen.font = "600 13px system-ui, sans-serif"; pen.textAlign = "center"; pen.lineJoin = "round";
  for (const label of data.labels) {
    pen.strokeStyle = colour("--plot"); pen.lineWidth = 4; pen.strokeText(label.name, across(label.x), down(label.y));
    pen.fillStyle = colour("--ink"); pen.fillText(label.name, across(label.x), down(label.y));
  }
  pen.strokeStyle = colour("--ink"); pen.lineWidth = 1.5;
  for (const i of near) { pen.beginPath(); pen.arc(across(sounds[i].x), down(sounds[i].y), r + 3, 0, 7); pen.stroke(); }
  if (hovered >= 0) {
    pen.strokeStyle = colour("--accent"); pen.lineWidth = 2.5;
    pen.beginPath(); pen.arc(across(sounds[hovered].x), down(sounds[hovered].y), r + 3, 0, 7); pen.stroke();
  }
  const mark = (at, size, ink) => {
    pen.strokeStyle = ink; pen.lineWidth = 2; pen.beginPath();
    pen.moveTo(across(at.x) - size, down(at.y)); pen.lineTo(across(at.x) + size, down(at.y));
    pen.moveTo(across(at.x), down(at.y) - size); pen.lineTo(across(at.x), down(at.y) + size); pen.stroke();
  };
  if (document.activeElement === canvas) mark(cursor, 8, colour("--soft"));
  if (chosen) mark(chosen, 12, colour("--accent"));
}
function nearestTo(x, y, count, allowed = i => shown[sounds[i].class]) {
  const order = [];
  sounds.forEach((s, i) => { if (allowed(i)) order.push([(s.x - x) ** 2 + (s.y - y) ** 2, i]); });
  return order.sort((a, b) => a[0] - b[0]).slice(0, count).map(pair => pair[1]);
}
function dotAt(px, py) {
  const [i] = nearestTo(mapX(px), mapY(py), 1);
  if (i === undefined) return -1;
  return Math.hypot(across(sounds[i].x) - px, down(sounds[i].y) - py) <= radius() + 4 ? i : -1;
}

// ---- playing -------------------------------------------------------------------------------------------------------
let playing = null, latest = 0, latestWave = null;
function play(address, then) {
  if (playing) playing.pause();
  playing = new Audio(address);
  if (then) playing.addEventListener("playing", then, { once: true });
  playing.play().catch(() => {});
  return playing;
}
const library = i => served ? `/library?i=${i}` : sounds[i].audio;
function playLibrary(i) { const address = library(i); if (address) play(address); }
function listNear(rows) {
  near = rows;
  const list = $("near"); list.replaceChildren();
  for (const i of rows) {
    const s = sounds[i], item = document.createElement("li");
    const button = document.createElement("button"); button.type = "button"; button.textContent = "▶";
    button.setAttribute("aria-label", "play " + s.name); button.disabled = !library(i);
    if (!library(i)) button.title = "this page holds no sound for it";
    button.onclick = () => playLibrary(i);
    button.onfocus = () => { hovered = i; draw(); };
    const dot = document.createElement("span"); dot.className = "dot"; dot.style.background = classes[s.class].colour;
    const name = document.createElement("span"); name.className = "name"; name.textContent = s.name; name.title = s.name;
    const small = document.createElement("small");
    small.textContent = classes[s.class].name + (s.agreement === undefined ? "" : ` (borrowed, ${Math.round(100 * s.agreement)} % agree)`);
    name.append(small); item.append(button, dot, name); list.append(item);
  }
}
const far = d => d < 0.0005 ? "on a library sound" : `${d.toFixed(3)} of the map's width from the nearest library sound`;
function pick(x, y) {
  const began = performance.now(), number = ++latest;
  chosen = { x, y }; cursor = { x, y }; draw();
  const rows = nearestTo(x, y, 6, () => true);
  if (!served) {
    listNear(rows);
    const first = rows.find(i => sounds[i].audio);
    const s = sounds[rows[0]], distance = Math.hypot(s.x - x, s.y - y);
    $("status").textContent = first === undefined ? "This page holds no sounds." :
      `Nearest: ${sounds[first].name} (${far(distance)}).`;
    if (first !== undefined) playLibrary(first);
    return;
  }
  $("status").textContent = "…";
  fetch(`/sound?x=${x}&y=${y}`).then(async answer => {
    const made = await answer.json();
    if (number !== latest) return;  // a later click has overtaken this one
    if (!answer.ok) { $("status").textContent = made.error || "The server refused this."; return; }
    const arrived = performance.now();
    if (latestWave) URL.revokeObjectURL(latestWave);
    latestWave = URL.createObjectURL(new Blob([bytes(made.wav)], { type: "audio/wav" }));
    play(latestWave, () => {
      const t = made.times, ms = value => value.toFixed(0);
      const total = performance.now() - began;
      document.body.dataset.clickMs = total.toFixed(1);
      $("times").textContent = `Click to sound ${ms(total)} ms: way back ${t.inverse.toFixed(1)}, decoding ${ms(t.decode)}, ` +
        `synthesis ${ms(t.synthesis)}, spectrogram and wav ${ms(t.picture + t.wav)}, browser and network ${ms(total - t.total)}.`;
    });
    show($("picture"), bytes(made.picture), made.rows, made.columns);
    listNear(made.near); draw();
    $("status").textContent = `New sound at (${x.toFixed(3)}, ${y.toFixed(3)}), ${far(made.distance)}.`;
    const save = $("save"); save.href = latestWave; save.download = made.name; save.hidden = false; $("again").hidden = false;
    document.body.dataset.made = number;
  }).catch(() => { if (number === latest) $("status").textContent = "The server does not answer: is it still running?"; });
}

// ---- hands ---------------------------------------------------------------------------------------------------------
let press = null;
const place = event => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
canvas.addEventListener("pointerdown", event => { canvas.setPointerCapture(event.pointerId);
  press = { at: place(event), x: view.x, y: view.y, moved: false }; });
canvas.addEventListener("pointermove", event => {
  const [px, py] = place(event);
  if (press) {
    const dx = px - press.at[0], dy = py - press.at[1];
    if (Math.hypot(dx, dy) > 5) press.moved = true;
    if (press.moved && view.span < 1.07) { view.x = press.x - dx / width() * span().x; view.y = press.y + dy / height() * span().y; draw(); }
    return;
  }
  const i = dotAt(px, py), tip = $("tip");
  if (i !== hovered) { hovered = i; draw(); }
  tip.style.display = i < 0 ? "none" : "block";
  if (i >= 0) {
    tip.textContent = `${sounds[i].name} · ${classes[sounds[i].class].name}`;
    tip.style.left = Math.max(0, Math.min(px + 14, width() - tip.offsetWidth - 4)) + "px"; tip.style.top = py + 16 + "px";
  }
});
canvas.addEventListener("pointerup", event => {
  const was = press; press = null;
  if (!was || was.moved) return;
  const [px, py] = place(event), i = dotAt(px, py);
  if (i >= 0) pick(sounds[i].x, sounds[i].y); else pick(mapX(px), mapY(py));
});
canvas.addEventListener("pointercancel", () => { press = null; });
canvas.addEventListener("pointerleave", () => { hovered = -1; $("tip").style.display = "none"; draw(); });
function zoom(factor, x = view.x, y = view.y) {
  const next = Math.max(0.02, Math.min(1.08, view.span * factor)), share = next / view.span;
  view = next >= 1.08 ? { x: 0.5, y: 0.5, span: 1.08 } : { x: x + (view.x - x) * share, y: y + (view.y - y) * share, span: next };
  draw();
}
canvas.addEventListener("wheel", event => { event.preventDefault(); const [px, py] = place(event);
  zoom(event.deltaY > 0 ? 1.2 : 1 / 1.2, mapX(px), mapY(py)); }, { passive: false });
canvas.addEventListener("keydown", event => {
  const step = view.span * (event.shiftKey ? 0.1 : 0.02), move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
  if (move) { cursor = { x: Math.max(0, Math.min(1, cursor.x + step * move[0])), y: Math.max(0, Math.min(1, cursor.y + step * move[1])) }; draw(); }
  else if (event.key === "Enter" || event.key === " ") pick(cursor.x, cursor.y);
  else if (event.key === "+" || event.key === "=") zoom(1 / 1.4, cursor.x, cursor.y);
  else if (event.key === "-") zoom(1.4, cursor.x, cursor.y);
  else if (event.key === "0") zoom(1e9);
  else return;
  event.preventDefault();
});
canvas.addEventListener("focus", draw); canvas.addEventListener("blur", draw);
$("in").onclick = () => zoom(1 / 1.4); $("out").onclick = () => zoom(1.4); $("whole").onclick = () => zoom(1e9);
$("again").onclick = () => { if (latestWave) play(latestWave); };
$("find").addEventListener("input", event => {
  const text = event.target.value.trim().toLowerCase();
  found = text ? new Set(sounds.flatMap((s, i) => s.name.toLowerCase().includes(text) ? [i] : [])) : null;
  $("hits").textContent = found ? `${found.size} of ${sounds.length}` : "";
  draw();
});

// ---- legend and grid -----------------------------------------------------------------------------------------------
classes.forEach((c, k) => {
  const button = document.createElement("button"); button.type = "button"; button.setAttribute("aria-pressed", "true");
  const dot = document.createElement("span"); dot.className = "dot"; dot.style.background = c.colour;
  const name = document.createElement("span"); name.textContent = `${c.name} (${c.count})`; button.title = name.textContent;
  button.append(dot, name);
  button.onclick = () => { shown[k] = !shown[k]; button.setAttribute("aria-pressed", String(shown[k])); draw(); };
  $("legend").append(button);
});
const grid = data.grid;
if (grid) {
  const board = $("grid"), gap = 2, tileW = 72, tileH = 56;
  board.width = grid.size * (tileW + gap) + gap; board.height = grid.size * (tileH + gap) + gap;
  const p = board.getContext("2d");
  grid.tiles.forEach((tile, i) => {
    const column = i % grid.size, row = Math.floor(i / grid.size);
    p.drawImage(picture(bytes(tile.picture), grid.rows, grid.columns), gap + column * (tileW + gap), gap + row * (tileH + gap), tileW, tileH);
  });
  let tileAt = 0;
  const outline = () => { $("tile").textContent = `Tile ${tileAt + 1}: (${grid.tiles[tileAt].x.toFixed(2)}, ${grid.tiles[tileAt].y.toFixed(2)}), ${far(grid.tiles[tileAt].distance)}.`; };
  const playTile = i => { tileAt = i; outline(); if (served) pick(grid.tiles[i].x, grid.tiles[i].y); else play(grid.tiles[i].audio); };
  board.addEventListener("click", event => {
    const box = board.getBoundingClientRect();
    const column = Math.min(grid.size - 1, Math.floor((event.clientX - box.left) / box.width * grid.size));
    const row = Math.min(grid.size - 1, Math.floor((event.clientY - box.top) / box.height * grid.size));
    playTile(row * grid.size + column);
  });
  board.addEventListener("keydown", event => {
    const move = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -grid.size, ArrowDown: grid.size }[event.key];
    if (move && tileAt + move >= 0 && tileAt + move < grid.tiles.length) { tileAt += move; outline(); }
    else if (event.key === "Enter" || event.key === " ") playTile(tileAt);
    else if (!move) return;
    event.preventDefault();
  });
}
new ResizeObserver(draw).observe(canvas);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
draw();
document.body.dataset.ready = "1";
