const live = document.getElementById("live");
async function again() {
  try {
    const answer = await fetch("/live", { cache: "no-store" });
    if (answer.ok) live.innerHTML = await answer.text();
  } catch {
    const gone = document.getElementById("gone") || document.createElement("p");
    gone.id = "gone";
    gone.className = "stale";
    gone.textContent = "The service does not answer: it has ended, or is being started again. What stands here is the last of it.";
    live.prepend(gone);
  }
  setTimeout(again, 1000);
}
setTimeout(again, 1000);
