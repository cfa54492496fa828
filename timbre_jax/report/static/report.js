let playing = null, button = null;
function stop() {
  if (playing) { playing.pause(); playing = null; }
  if (button) { button.classList.remove("on"); button = null; }
}
document.addEventListener("click", event => {
  const target = event.target.closest(".play");
  if (!target) return;
  const same = target === button;
  stop();
  if (same) return;
  playing = new Audio(target.dataset.sound);
  button = target;
  target.classList.add("on");
  playing.onended = stop;
  playing.play();
});
document.addEventListener("play", event => {
  stop();
  document.querySelectorAll("audio").forEach(other => { if (other !== event.target) other.pause(); });
}, true);
