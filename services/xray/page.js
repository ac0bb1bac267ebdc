const form = document.getElementById("form");
const out = document.getElementById("out");
const stop = document.getElementById("stop");
let running = null;

function show(result) {
  const lines = [`#${result.index + 1}`];
  if (!result.ok) lines.push(`${result.error.status}: ${result.error.reason}`);
  else {
    for (const section of result.report.sections) lines.push(`${section.title}: ${section.text}`);
    lines.push(result.report.summary);
  }
  const block = document.createElement("pre");
  block.textContent = lines.join("\n");
  out.append(block);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  running = new AbortController();
  stop.disabled = false;
  out.textContent = "…";
  try {
    const answer = await fetch("analyze", {
      method: "POST",
      body: new FormData(form),
      headers: { "Accept-Language": document.documentElement.lang },
      signal: running.signal,
    });
    const report = await answer.json();
    out.textContent = "";
    if (report.results) report.results.forEach(show);
    else out.textContent = `${report.error.status}: ${report.error.reason}`;
  } catch (error) {
    out.textContent = String(error);
  }
  stop.disabled = true;
});
stop.addEventListener("click", () => running.abort());
