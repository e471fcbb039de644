// The faults of what a page shows now: what does not fit, lacks contrast or a label, or is
// too small for a finger. WCAG 2.2 has the rules and the formula of contrast.
(() => {
  const faults = [];
  const width = document.documentElement.clientWidth;
  if (document.scrollingElement.scrollWidth > width) faults.push(`the page is ${document.scrollingElement.scrollWidth} pixels wide`);
  const channels = (c) => c.match(/[\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => {
    const f = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b);
  };
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const c = channels(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  const contrast = (a, b) => {
    const [high, low] = [luminance(a), luminance(b)].sort((p, q) => q - p);
    return (high + 0.05) / (low + 0.05);
  };
  let texts = 0;
  for (const e of document.querySelectorAll("main *")) {
    const style = getComputedStyle(e), box = e.getBoundingClientRect();
    if (!box.width) continue;
    const name = e.id || e.tagName;
    if (box.right > width + 0.5 || box.left < 0) faults.push(`${name} does not fit`);
    if ([...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) {
      texts++;
      const is = contrast(channels(style.color), ground(e));
      if (is < 4.5) faults.push(`${name} has a contrast of ${is.toFixed(1)}`);
    }
    if (e.matches("input, button")) {
      if (e.matches("input") && !e.labels.length) faults.push(`${name} has no label`);
      const target = e.type === "checkbox" ? e.labels[0].getBoundingClientRect() : box;
      if (target.height < 44) faults.push(`${name} is ${target.height} pixels high`);
      if (e.id === "passphrase" && contrast(channels(style.borderColor), ground(e.parentElement)) < 3) faults.push(`${name} has a weak border`);
    }
  }
  if (!texts) faults.push("there is no text");
  return faults;
})()
