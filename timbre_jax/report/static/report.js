let now = null, button = null;
function stop() {
  if (now) { now.pause(); now = null; }
  if (button) { button.classList.remove("on"); button = null; }
}
document.addEventListener("click", event => {
  const target = event.target.closest(".play");
  if (!target) return;
  const same = target === button;
  stop();
  if (same) return;
  now = new Audio(target.dataset.sound);
  button = target;
  target.classList.add("on");
  now.onended = stop;
  now.play();
});
document.addEventListener("play", event => {
  stop();
  document.querySelectorAll("audio").forEach(other => { if (other !== event.target) other.pause(); });
}, true);
