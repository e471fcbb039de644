// Reports the elements of the page that do not fit, in an attribute of the root.
const root = document.documentElement, misfits = [];
const width = root.clientWidth, height = root.scrollHeight;
const name = (e) => e.tagName.toLowerCase() + " \"" + (e.textContent || "").trim().slice(0, 40) + "\"";
for (const d of document.querySelectorAll("details")) d.open = true;
if (root.scrollWidth > root.clientWidth) misfits.push("the page is " + root.scrollWidth + " pixels wide");
for (const e of document.body.querySelectorAll("*")) {
  const r = e.getBoundingClientRect();
  if (!r.width) continue;
  if (r.left < -0.5 || r.right > root.clientWidth + 0.5) misfits.push(name(e) + " ends at " + Math.round(r.right));
  if (!e.closest("svg") && getComputedStyle(e).display !== "inline" && e.scrollWidth > e.clientWidth + 1) {
    misfits.push(name(e) + " is cut: " + e.scrollWidth + " in " + e.clientWidth);
  }
}
for (const svg of document.querySelectorAll("svg")) {
  const s = svg.getBoundingClientRect();
  if (!s.width) continue;
  const texts = [...svg.querySelectorAll("text")].map((e) => [e, e.getBoundingClientRect()]);
  texts.forEach(([e, r], i) => {
    if (r.left < s.left - 1 || r.right > s.right + 1 || r.top < s.top - 1 || r.bottom > s.bottom + 1) {
      misfits.push(name(e) + " is outside its picture, by " + Math.round(Math.max(s.left - r.left, r.right - s.right, s.top - r.top, r.bottom - s.bottom)));
    }
    for (const [f, q] of texts.slice(i + 1)) {
      const across = Math.min(r.right, q.right) - Math.max(r.left, q.left), down = Math.min(r.bottom, q.bottom) - Math.max(r.top, q.top);
      if (across > 1 && down > 4) misfits.push(name(e) + " overlaps " + name(f));
    }
  });
}
root.dataset.probe = JSON.stringify({ width, height, misfits: misfits.slice(0, 20) });
