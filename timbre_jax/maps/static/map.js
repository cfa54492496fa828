"use strict";
// As a file, the page plays the sounds inside it; served, it requests new sounds from the server.
const data = JSON.parse(document.getElementById("data").textContent);
const $ = id => document.getElementById(id);
const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));
const sounds = data.sounds, classes = data.classes, served = data.served;
const shown = classes.map(() => true);
// Two layers: sounds, which rarely change, below marks, which follow the pointer.
const canvas = $("map"), below = $("dots");
let view = { x: 0.5, y: 0.5, span: 1.08 };  // center and width of the visible part, in map units
let cursor = { x: 0.5, y: 0.5 }, chosen = null, hovered = -1, near = [], found = null;

// ---- colors --------------------------------------------------------------------------------------------------------
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
  const created = document.createElement("canvas"); created.width = columns; created.height = rows;
  const image = created.getContext("2d").createImageData(columns, rows);
  for (let i = 0; i < rows * columns; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = palette[3 * pixels[i] + c];
    image.data[4 * i + 3] = 255;
  }
  created.getContext("2d").putImageData(image, 0, 0);
  return created;
}
function show(target, pixels, rows, columns) {
  target.width = columns * 2; target.height = rows * 2;
  const p = target.getContext("2d"); p.imageSmoothingEnabled = true;
  p.drawImage(picture(pixels, rows, columns), 0, 0, target.width, target.height);
}

// Dark colors become lighter in dark mode, and light colors darker in light mode.
const dark = matchMedia("(prefers-color-scheme: dark)");
function tone(color) {
  const rgb = [1, 3, 5].map(k => parseInt(color.slice(k, k + 2), 16)), light = (0.3 * rgb[0] + 0.59 * rgb[1] + 0.11 * rgb[2]) / 255;
  const [goal, share] = dark.matches ? [255, Math.max(0, 0.5 - light)] : [0, Math.max(0, light - 0.72)];
  return `rgb(${rgb.map(v => Math.round(v + (goal - v) * Math.min(0.6, 1.4 * share))).join(",")})`;
}

// ---- the map -------------------------------------------------------------------------------------------------------
const width = () => canvas.clientWidth, height = () => canvas.clientHeight;
const least = () => Math.min(width(), height());
const span = () => ({ x: view.span * width() / least(), y: view.span * height() / least() });
const across = x => ((x - view.x) / span().x + 0.5) * width();
const down = y => (0.5 - (y - view.y) / span().y) * height();
const mapX = px => (px / width() - 0.5) * span().x + view.x;
const mapY = py => (0.5 - py / height()) * span().y + view.y;
const radius = () => Math.max(2.5, Math.min(7, 90 / Math.sqrt(sounds.length))) * Math.min(2.2, Math.sqrt(1.08 / view.span));
const fits = { dots: "", marks: "" };
function layer(target, name) {
  const ratio = window.devicePixelRatio || 1, size = `${width()} ${height()} ${ratio}`, pen = target.getContext("2d");
  if (fits[name] !== size) {
    fits[name] = size; target.width = Math.round(width() * ratio); target.height = Math.round(height() * ratio);
  }
  pen.setTransform(ratio, 0, 0, ratio, 0, 0); pen.clearRect(0, 0, width(), height());
  return pen;
}
let waiting = { dots: false, marks: false };
function later(name, paint) {
  if (waiting[name]) return;
  waiting[name] = true;
  requestAnimationFrame(() => { waiting[name] = false; paint(); });
}
const mark = () => later("marks", paintMarks);
const draw = () => { later("dots", paintDots); mark(); };
const color = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
function paintDots() {
  const pen = layer(below, "dots"), r = radius(), tones = classes.map(c => tone(c.color)), paper = color("--plot");
  pen.strokeStyle = paper; pen.lineWidth = 1;
  sounds.forEach((s, i) => {
    if (!shown[s.class]) return;
    pen.globalAlpha = found && !found.has(i) ? 0.12 : 0.85;
    pen.fillStyle = tones[s.class];
    pen.beginPath(); pen.arc(across(s.x), down(s.y), found && found.has(i) ? r * 1.4 : r, 0, 7); pen.fill(); pen.stroke();
  });
  pen.globalAlpha = 1;
  pen.font = "600 13px system-ui, sans-serif"; pen.textAlign = "center"; pen.lineJoin = "round";
  const ink = color("--ink");
  for (const label of data.labels) {
    pen.strokeStyle = paper; pen.lineWidth = 4; pen.strokeText(label.name, across(label.x), down(label.y));
    pen.fillStyle = ink; pen.fillText(label.name, across(label.x), down(label.y));
  }
}
function paintMarks() {
  const pen = layer(canvas, "marks"), r = radius();
  const ring = (i, ink, thick) => {
    pen.strokeStyle = ink; pen.lineWidth = thick;
    pen.beginPath(); pen.arc(across(sounds[i].x), down(sounds[i].y), r + 3, 0, 7); pen.stroke();
  };
  const cross = (at, size, ink) => {
    pen.strokeStyle = ink; pen.lineWidth = 2; pen.beginPath();
    pen.moveTo(across(at.x) - size, down(at.y)); pen.lineTo(across(at.x) + size, down(at.y));
    pen.moveTo(across(at.x), down(at.y) - size); pen.lineTo(across(at.x), down(at.y) + size); pen.stroke();
  };
  for (const i of near) ring(i, color("--ink"), 1.5);
  if (hovered >= 0) ring(hovered, color("--accent"), 2.5);
  if (document.activeElement === canvas) cross(cursor, 8, color("--soft"));
  if (chosen) cross(chosen, 12, color("--accent"));
}
function nearestTo(x, y, count) {
  const order = sounds.map((s, i) => [(s.x - x) ** 2 + (s.y - y) ** 2, i]);
  return order.sort((a, b) => a[0] - b[0]).slice(0, count).map(pair => pair[1]);
}
function dotAt(px, py) {
  let best = -1, least = (radius() + 4) ** 2;
  sounds.forEach((s, i) => {
    if (!shown[s.class]) return;
    const distance = (across(s.x) - px) ** 2 + (down(s.y) - py) ** 2;
    if (distance < least) { least = distance; best = i; }
  });
  return best;
}

// ---- playback -------------------------------------------------------------------------------------------------------
let element = null, voice = null, latest = 0, pending = null, latestWave = null, latestAddress = "", sounding = null;
function hush() {
  if (element) { element.pause(); element = null; }
  if (voice) { voice.stop(); voice = null; }
}
function play(address) {  // recorded sounds
  hush();
  element = new Audio(address);
  element.play().catch(() => {});
}
// Opening the sound card takes time: it starts with the first press, while the server creates the sound.
function wake() {
  sounding = sounding || new AudioContext({ latencyHint: "interactive" });
  if (sounding.state === "suspended") sounding.resume();
}
// New sounds go directly to the sound card, which saves the tenth of a second that an audio element needs.
function playWave(wave) {
  hush();
  wake();
  const samples = new Int16Array(wave.buffer, 44), rate = new DataView(wave.buffer).getUint32(24, true);
  const buffer = sounding.createBuffer(1, samples.length, rate), channel = buffer.getChannelData(0);
  for (let i = 0; i < samples.length; i++) channel[i] = samples[i] / 32768;
  voice = sounding.createBufferSource(); voice.buffer = buffer; voice.connect(sounding.destination); voice.start();
  return 1000 * ((sounding.baseLatency || 0) + (sounding.outputLatency || 0));
}
const library = i => served ? `/library?i=${i}` : sounds[i].audio;
function playLibrary(i) { const address = library(i); if (address) play(address); }
function listNear(rows) {
  $("none").hidden = true;
  near = rows; mark();
  const list = $("near"); list.replaceChildren();
  for (const i of rows) {
    const s = sounds[i], item = document.createElement("li");
    const button = document.createElement("button"); button.type = "button"; button.textContent = "▶";
    button.setAttribute("aria-label", "play " + s.name); button.disabled = !library(i);
    if (!library(i)) button.title = "This sound is not part of the page.";
    button.onclick = () => playLibrary(i);
    button.onfocus = () => { hovered = i; mark(); };
    const dot = document.createElement("span"); dot.className = "dot"; dot.style.background = tone(classes[s.class].color);
    const name = document.createElement("span"); name.className = "name"; name.textContent = s.name; name.title = s.name;
    const small = document.createElement("small");
    small.textContent = classes[s.class].name + (s.agreement === undefined ? "" : ` (${Math.round(100 * s.agreement)} % of the neighbors)`);
    name.append(small); item.append(button, dot, name); list.append(item);
  }
}
const far = d => d < 0.0005 ? "at a library sound" : `${d.toFixed(3)} map widths from the nearest library sound`;
function pick(x, y) {
  const began = performance.now(), number = ++latest;
  chosen = { x, y }; cursor = { x, y };
  if (!served) {
    const rows = nearestTo(x, y, 6), s = sounds[rows[0]], first = rows.find(i => sounds[i].audio);
    listNear(rows);
    const note = first === undefined ? " None of them can be played on this page." : first === rows[0] ? "" : ` Playing ${sounds[first].name}.`;
    $("status").textContent = `Nearest sound: ${s.name} (${far(Math.hypot(s.x - x, s.y - y))}).${note}`;
    if (first !== undefined) playLibrary(first);
    return;
  }
  wake();
  $("status").textContent = "…";
  if (pending) pending.abort();  // a later click replaces an earlier one
  pending = new AbortController();
  fetch(`/sound?x=${x}&y=${y}`, { signal: pending.signal }).then(async answer => {
    if (!answer.ok) {
      const text = (await answer.json()).error;
      if (number === latest) $("status").textContent = text || "The server refused the request.";
      return;
    }
    // The length of a JSON text, the text, the spectrogram and the wav file.
    const all = await answer.arrayBuffer();
    if (number !== latest) return;  // a later click replaced this one
    const length = new DataView(all).getUint32(0, true);
    const created = JSON.parse(new TextDecoder().decode(new Uint8Array(all, 4, length)));
    const pixels = new Uint8Array(all, 4 + length, created.rows * created.columns);
    latestWave = new Uint8Array(all.slice(4 + length + pixels.length));
    const card = playWave(latestWave), total = performance.now() - began + card;
    document.body.dataset.clickMs = total.toFixed(1);
    const t = created.times, ms = value => value.toFixed(0);
    $("times").textContent = `${ms(total)} ms from click to sound: inverse ${t.inverse.toFixed(1)}, decoding ${ms(t.decode)}, ` +
      `synthesis ${ms(t.synthesis)}, spectrogram and wav ${ms(t.picture + t.wav)}, browser and transfer ` +
      `${ms(total - t.total - card)}, sound card ${ms(card)}.`;
    if (latestAddress) URL.revokeObjectURL(latestAddress);
    latestAddress = URL.createObjectURL(new Blob([latestWave], { type: "audio/wav" }));
    show($("picture"), pixels, created.rows, created.columns);
    listNear(created.near);
    $("status").textContent = `New sound at (${x.toFixed(3)}, ${y.toFixed(3)}), ${far(created.distance)}.`;
    const save = $("save"); save.href = latestAddress; save.download = created.name; save.hidden = false; $("again").hidden = false;
    document.body.dataset.made = number;
  }).catch(() => { if (number === latest) $("status").textContent = "The server does not respond. Is it still running?"; });
}

// ---- pointer and keyboard ---------------------------------------------------------------------------------------------------------
let press = null;
const place = event => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
canvas.addEventListener("pointerdown", event => {
  if (served) wake();
  canvas.setPointerCapture(event.pointerId);
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
  if (i !== hovered) { hovered = i; mark(); }
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
canvas.addEventListener("pointerleave", () => { hovered = -1; $("tip").style.display = "none"; mark(); });
function zoom(factor, x = view.x, y = view.y) {
  const next = Math.max(0.02, Math.min(1.08, view.span * factor)), share = next / view.span;
  view = next >= 1.08 ? { x: 0.5, y: 0.5, span: 1.08 } : { x: x + (view.x - x) * share, y: y + (view.y - y) * share, span: next };
  draw();
}
canvas.addEventListener("wheel", event => { event.preventDefault(); const [px, py] = place(event);
  zoom(event.deltaY > 0 ? 1.2 : 1 / 1.2, mapX(px), mapY(py)); }, { passive: false });
canvas.addEventListener("keydown", event => {
  const step = view.span * (event.shiftKey ? 0.1 : 0.02), move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
  if (move) { cursor = { x: Math.max(0, Math.min(1, cursor.x + step * move[0])), y: Math.max(0, Math.min(1, cursor.y + step * move[1])) }; mark(); }
  else if (event.key === "Enter" || event.key === " ") { if (!event.repeat) pick(cursor.x, cursor.y); }
  else if (event.key === "+" || event.key === "=") zoom(1 / 1.4, cursor.x, cursor.y);
  else if (event.key === "-") zoom(1.4, cursor.x, cursor.y);
  else if (event.key === "0") zoom(1e9);
  else return;
  event.preventDefault();
});
canvas.addEventListener("focus", mark); canvas.addEventListener("blur", mark);
$("in").onclick = () => zoom(1 / 1.4); $("out").onclick = () => zoom(1.4); $("whole").onclick = () => zoom(1e9);
$("again").onclick = () => { if (latestWave) playWave(latestWave); };
$("find").addEventListener("input", event => {
  const text = event.target.value.trim().toLowerCase();
  found = text ? new Set(sounds.flatMap((s, i) => s.name.toLowerCase().includes(text) ? [i] : [])) : null;
  $("hits").textContent = found ? `${found.size} of ${sounds.length}` : "";
  draw();
});

// ---- legend and grid -----------------------------------------------------------------------------------------------
classes.forEach((c, k) => {
  const button = document.createElement("button"); button.type = "button"; button.setAttribute("aria-pressed", "true");
  const dot = document.createElement("span"); dot.className = "dot"; dot.style.background = tone(c.color);
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
dark.addEventListener("change", () => {
  draw();
  document.querySelectorAll("#legend .dot").forEach((dot, k) => { dot.style.background = tone(classes[k].color); });
});
draw();
document.body.dataset.ready = "1";
