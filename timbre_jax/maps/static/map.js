"use strict";
// As a file, the page plays the sounds inside it; served, it requests new sounds from the server.
const data = JSON.parse(document.getElementById("data").textContent);
const $ = id => document.getElementById(id);
const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));
const sounds = data.sounds, classes = data.classes, served = data.served;
const shown = classes.map(() => true);
// Two layers: dots of the sounds, which rarely change, and above them marks, which follow the pointer.
const canvas = $("map"), dotsCanvas = $("dots");
let view = { x: 0.5, y: 0.5, span: 1.08 };  // center and width of the visible part, in map units
let cursor = { x: 0.5, y: 0.5 }, chosenPoint = null, hovered = -1, near = [], matches = null;

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
function drawPicture(target, pixels, rows, columns) {
  target.width = columns * 2; target.height = rows * 2;
  const p = target.getContext("2d"); p.imageSmoothingEnabled = true;
  p.drawImage(picture(pixels, rows, columns), 0, 0, target.width, target.height);
}

// Dark colors become lighter in dark mode, and light colors darker in light mode.
const dark = matchMedia("(prefers-color-scheme: dark)");
function themedColor(color) {
  const rgb = [1, 3, 5].map(k => parseInt(color.slice(k, k + 2), 16)), light = (0.3 * rgb[0] + 0.59 * rgb[1] + 0.11 * rgb[2]) / 255;
  const [goal, share] = dark.matches ? [255, Math.max(0, 0.5 - light)] : [0, Math.max(0, light - 0.72)];
  return `rgb(${rgb.map(v => Math.round(v + (goal - v) * Math.min(0.6, 1.4 * share))).join(",")})`;
}

// ---- the map -------------------------------------------------------------------------------------------------------
const width = () => canvas.clientWidth, height = () => canvas.clientHeight;
const shorterSide = () => Math.min(width(), height());
const span = () => ({ x: view.span * width() / shorterSide(), y: view.span * height() / shorterSide() });
const pixelX = x => ((x - view.x) / span().x + 0.5) * width();
const pixelY = y => (0.5 - (y - view.y) / span().y) * height();
const mapX = px => (px / width() - 0.5) * span().x + view.x;
const mapY = py => (0.5 - py / height()) * span().y + view.y;
const radius = () => Math.max(2.5, Math.min(7, 90 / Math.sqrt(sounds.length))) * Math.min(2.2, Math.sqrt(1.08 / view.span));
const layerSizes = { dots: "", marks: "" };
function layer(target, name) {
  const ratio = window.devicePixelRatio || 1, size = `${width()} ${height()} ${ratio}`, context = target.getContext("2d");
  if (layerSizes[name] !== size) {
    layerSizes[name] = size; target.width = Math.round(width() * ratio); target.height = Math.round(height() * ratio);
  }
  context.setTransform(ratio, 0, 0, ratio, 0, 0); context.clearRect(0, 0, width(), height());
  return context;
}
let scheduled = { dots: false, marks: false };
function schedule(name, paint) {
  if (scheduled[name]) return;
  scheduled[name] = true;
  requestAnimationFrame(() => { scheduled[name] = false; paint(); });
}
const redrawMarks = () => schedule("marks", paintMarks);
const redraw = () => { schedule("dots", paintDots); redrawMarks(); };
const color = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
function paintDots() {
  const context = layer(dotsCanvas, "dots"), r = radius(), dotColors = classes.map(c => themedColor(c.color)), paper = color("--plot");
  context.strokeStyle = paper; context.lineWidth = 1;
  sounds.forEach((s, i) => {
    if (!shown[s.class]) return;
    context.globalAlpha = matches && !matches.has(i) ? 0.12 : 0.85;
    context.fillStyle = dotColors[s.class];
    context.beginPath(); context.arc(pixelX(s.x), pixelY(s.y), matches && matches.has(i) ? r * 1.4 : r, 0, 7); context.fill(); context.stroke();
  });
  context.globalAlpha = 1;
  context.font = "600 13px system-ui, sans-serif"; context.textAlign = "center"; context.lineJoin = "round";
  const ink = color("--ink");
  for (const label of data.labels) {
    context.strokeStyle = paper; context.lineWidth = 4; context.strokeText(label.name, pixelX(label.x), pixelY(label.y));
    context.fillStyle = ink; context.fillText(label.name, pixelX(label.x), pixelY(label.y));
  }
}
function paintMarks() {
  const context = layer(canvas, "marks"), r = radius();
  const ring = (i, ink, thick) => {
    context.strokeStyle = ink; context.lineWidth = thick;
    context.beginPath(); context.arc(pixelX(sounds[i].x), pixelY(sounds[i].y), r + 3, 0, 7); context.stroke();
  };
  const cross = (at, size, ink) => {
    context.strokeStyle = ink; context.lineWidth = 2; context.beginPath();
    context.moveTo(pixelX(at.x) - size, pixelY(at.y)); context.lineTo(pixelX(at.x) + size, pixelY(at.y));
    context.moveTo(pixelX(at.x), pixelY(at.y) - size); context.lineTo(pixelX(at.x), pixelY(at.y) + size); context.stroke();
  };
  for (const i of near) ring(i, color("--ink"), 1.5);
  if (hovered >= 0) ring(hovered, color("--accent"), 2.5);
  if (document.activeElement === canvas) cross(cursor, 8, color("--soft"));
  if (chosenPoint) cross(chosenPoint, 12, color("--accent"));
}
function nearestTo(x, y, count) {
  const order = sounds.map((s, i) => [(s.x - x) ** 2 + (s.y - y) ** 2, i]);
  return order.sort((a, b) => a[0] - b[0]).slice(0, count).map(pair => pair[1]);
}
function soundAt(px, py) {
  let best = -1, smallest = (radius() + 4) ** 2;
  sounds.forEach((s, i) => {
    if (!shown[s.class]) return;
    const distance = (pixelX(s.x) - px) ** 2 + (pixelY(s.y) - py) ** 2;
    if (distance < smallest) { smallest = distance; best = i; }
  });
  return best;
}

// ---- playback -------------------------------------------------------------------------------------------------------
let audioElement = null, audioSource = null, latestClick = 0, pendingRequest = null, latestWave = null, latestAddress = "", audioContext = null;
function stopPlayback() {
  if (audioElement) { audioElement.pause(); audioElement = null; }
  if (audioSource) { audioSource.stop(); audioSource = null; }
}
function play(address) {  // recorded sounds
  stopPlayback();
  audioElement = new Audio(address);
  audioElement.play().catch(() => {});
}
// Opening the sound card takes time: it starts with the first press, while the server creates the sound.
function resumeAudio() {
  audioContext = audioContext || new AudioContext({ latencyHint: "interactive" });
  if (audioContext.state === "suspended") audioContext.resume();
}
// New sounds go directly to the sound card, because an audio element needs a tenth of a second more.
function playWave(wave) {
  stopPlayback();
  resumeAudio();
  const samples = new Int16Array(wave.buffer, 44), rate = new DataView(wave.buffer).getUint32(24, true);
  const buffer = audioContext.createBuffer(1, samples.length, rate), channel = buffer.getChannelData(0);
  for (let i = 0; i < samples.length; i++) channel[i] = samples[i] / 32768;
  audioSource = audioContext.createBufferSource(); audioSource.buffer = buffer; audioSource.connect(audioContext.destination); audioSource.start();
  return 1000 * ((audioContext.baseLatency || 0) + (audioContext.outputLatency || 0));
}
const library = i => served ? `/library?i=${i}` : sounds[i].audio;
function playLibrary(i) { const address = library(i); if (address) play(address); }
function listNear(rows) {
  $("none").hidden = true;
  near = rows; redrawMarks();
  const list = $("near"); list.replaceChildren();
  for (const i of rows) {
    const s = sounds[i], item = document.createElement("li");
    const button = document.createElement("button"); button.type = "button"; button.textContent = "▶";
    button.setAttribute("aria-label", "play " + s.name); button.disabled = !library(i);
    if (!library(i)) button.title = "This sound is not part of the page.";
    button.onclick = () => playLibrary(i);
    button.onfocus = () => { hovered = i; redrawMarks(); };
    const dot = document.createElement("span"); dot.className = "dot"; dot.style.background = themedColor(classes[s.class].color);
    const name = document.createElement("span"); name.className = "name"; name.textContent = s.name; name.title = s.name;
    const small = document.createElement("small");
    small.textContent = classes[s.class].name + (s.agreement === undefined ? "" : ` (${Math.round(100 * s.agreement)} % of the neighbors)`);
    name.append(small); item.append(button, dot, name); list.append(item);
  }
}
const distanceText = d => d < 0.0005 ? "at a library sound" : `${d.toFixed(3)} map widths from the nearest library sound`;
function selectPoint(x, y) {
  const began = performance.now(), number = ++latestClick;
  chosenPoint = { x, y }; cursor = { x, y };
  if (!served) {
    const rows = nearestTo(x, y, 6), s = sounds[rows[0]], first = rows.find(i => sounds[i].audio);
    listNear(rows);
    const note = first === undefined ? " None of them can be played on this page." : first === rows[0] ? "" : ` Playing ${sounds[first].name}.`;
    const distance = Math.hypot(s.x - x, s.y - y), away = distance < 0.0005 ? "" : `, ${distance.toFixed(3)} map widths away`;
    $("status").textContent = `Nearest sound: ${s.name}${away}.${note}`;
    if (first !== undefined) playLibrary(first);
    return;
  }
  resumeAudio();
  $("status").textContent = "…";
  if (pendingRequest) pendingRequest.abort();  // a later click replaces an earlier one
  pendingRequest = new AbortController();
  fetch(`/sound?x=${x}&y=${y}`, { signal: pendingRequest.signal }).then(async answer => {
    if (!answer.ok) {
      const text = (await answer.json()).error;
      if (number === latestClick) $("status").textContent = text || "The server refused the request.";
      return;
    }
    // The length of a JSON text, the text, the spectrogram and the wav file.
    const all = await answer.arrayBuffer();
    if (number !== latestClick) return;  // a later click replaced this one
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
    drawPicture($("picture"), pixels, created.rows, created.columns);
    listNear(created.near);
    $("status").textContent = `New sound at (${x.toFixed(3)}, ${y.toFixed(3)}), ${distanceText(created.distance)}.`;
    const save = $("save"); save.href = latestAddress; save.download = created.name; save.hidden = false; $("again").hidden = false;
    document.body.dataset.made = number;
  }).catch(() => { if (number === latestClick) $("status").textContent = "The server does not respond. Is it still running?"; });
}

// ---- pointer and keyboard ---------------------------------------------------------------------------------------------------------
let press = null;
const pointerPosition = event => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
canvas.addEventListener("pointerdown", event => {
  if (served) resumeAudio();
  canvas.setPointerCapture(event.pointerId);
  press = { at: pointerPosition(event), x: view.x, y: view.y, moved: false }; });
canvas.addEventListener("pointermove", event => {
  const [px, py] = pointerPosition(event);
  if (press) {
    const dx = px - press.at[0], dy = py - press.at[1];
    if (Math.hypot(dx, dy) > 5) press.moved = true;
    if (press.moved && view.span < 1.07) { view.x = press.x - dx / width() * span().x; view.y = press.y + dy / height() * span().y; redraw(); }
    return;
  }
  const i = soundAt(px, py), tip = $("tip");
  if (i !== hovered) { hovered = i; redrawMarks(); }
  tip.style.display = i < 0 ? "none" : "block";
  if (i >= 0) {
    tip.textContent = `${sounds[i].name} · ${classes[sounds[i].class].name}`;
    tip.style.left = Math.max(0, Math.min(px + 14, width() - tip.offsetWidth - 4)) + "px"; tip.style.top = py + 16 + "px";
  }
});
canvas.addEventListener("pointerup", event => {
  const was = press; press = null;
  if (!was || was.moved) return;
  const [px, py] = pointerPosition(event), i = soundAt(px, py);
  if (i >= 0) selectPoint(sounds[i].x, sounds[i].y); else selectPoint(mapX(px), mapY(py));
});
canvas.addEventListener("pointercancel", () => { press = null; });
canvas.addEventListener("pointerleave", () => { hovered = -1; $("tip").style.display = "none"; redrawMarks(); });
function zoom(factor, x = view.x, y = view.y) {
  const next = Math.max(0.02, Math.min(1.08, view.span * factor)), share = next / view.span;
  view = next >= 1.08 ? { x: 0.5, y: 0.5, span: 1.08 } : { x: x + (view.x - x) * share, y: y + (view.y - y) * share, span: next };
  redraw();
}
canvas.addEventListener("wheel", event => { event.preventDefault(); const [px, py] = pointerPosition(event);
  zoom(event.deltaY > 0 ? 1.2 : 1 / 1.2, mapX(px), mapY(py)); }, { passive: false });
canvas.addEventListener("keydown", event => {
  const step = view.span * (event.shiftKey ? 0.1 : 0.02), move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
  if (move) { cursor = { x: Math.max(0, Math.min(1, cursor.x + step * move[0])), y: Math.max(0, Math.min(1, cursor.y + step * move[1])) }; redrawMarks(); }
  else if (event.key === "Enter" || event.key === " ") { if (!event.repeat) selectPoint(cursor.x, cursor.y); }
  else if (event.key === "+" || event.key === "=") zoom(1 / 1.4, cursor.x, cursor.y);
  else if (event.key === "-") zoom(1.4, cursor.x, cursor.y);
  else if (event.key === "0") zoom(1e9);
  else return;
  event.preventDefault();
});
canvas.addEventListener("focus", redrawMarks); canvas.addEventListener("blur", redrawMarks);
$("in").onclick = () => zoom(1 / 1.4); $("out").onclick = () => zoom(1.4); $("whole").onclick = () => zoom(1e9);
$("again").onclick = () => { if (latestWave) playWave(latestWave); };
$("find").addEventListener("input", event => {
  const text = event.target.value.trim().toLowerCase();
  matches = text ? new Set(sounds.flatMap((s, i) => s.name.toLowerCase().includes(text) ? [i] : [])) : null;
  $("hits").textContent = matches ? `${matches.size} of ${sounds.length}` : "";
  redraw();
});

// ---- legend and grid -----------------------------------------------------------------------------------------------
classes.forEach((c, k) => {
  const button = document.createElement("button"); button.type = "button"; button.setAttribute("aria-pressed", "true");
  const dot = document.createElement("span"); dot.className = "dot"; dot.style.background = themedColor(c.color);
  const name = document.createElement("span"); name.textContent = `${c.name} (${c.count})`; button.title = name.textContent;
  button.append(dot, name);
  button.onclick = () => { shown[k] = !shown[k]; button.setAttribute("aria-pressed", String(shown[k])); redraw(); };
  $("legend").append(button);
});
const grid = data.grid;
if (grid) {
  const gridCanvas = $("grid"), gap = 2, tileW = 72, tileH = 56;
  gridCanvas.width = grid.size * (tileW + gap) + gap; gridCanvas.height = grid.size * (tileH + gap) + gap;
  const p = gridCanvas.getContext("2d");
  grid.tiles.forEach((tile, i) => {
    const column = i % grid.size, row = Math.floor(i / grid.size);
    p.drawImage(picture(bytes(tile.picture), grid.rows, grid.columns), gap + column * (tileW + gap), gap + row * (tileH + gap), tileW, tileH);
  });
  let tileAt = 0;
  const outline = () => { $("tile").textContent = `Tile ${tileAt + 1}: (${grid.tiles[tileAt].x.toFixed(2)}, ${grid.tiles[tileAt].y.toFixed(2)}), ${distanceText(grid.tiles[tileAt].distance)}.`; };
  const playTile = i => { tileAt = i; outline(); if (served) selectPoint(grid.tiles[i].x, grid.tiles[i].y); else play(grid.tiles[i].audio); };
  gridCanvas.addEventListener("click", event => {
    const box = gridCanvas.getBoundingClientRect();
    const column = Math.min(grid.size - 1, Math.floor((event.clientX - box.left) / box.width * grid.size));
    const row = Math.min(grid.size - 1, Math.floor((event.clientY - box.top) / box.height * grid.size));
    playTile(row * grid.size + column);
  });
  gridCanvas.addEventListener("keydown", event => {
    const move = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -grid.size, ArrowDown: grid.size }[event.key];
    if (move && tileAt + move >= 0 && tileAt + move < grid.tiles.length) { tileAt += move; outline(); }
    else if (event.key === "Enter" || event.key === " ") playTile(tileAt);
    else if (!move) return;
    event.preventDefault();
  });
}
new ResizeObserver(redraw).observe(canvas);
dark.addEventListener("change", () => {
  redraw();
  document.querySelectorAll("#legend .dot").forEach((dot, k) => { dot.style.background = themedColor(classes[k].color); });
});
redraw();
document.body.dataset.ready = "1";
