// What an injected script, or injected HTML, would try from a page. It returns what went
// through.
(async () => {
  const faults = [], at = (what) => `${elsewhere}/${what}`;
  const attempt = async (what, f) => {
    try {
      if (await f()) faults.push(what);
    } catch { /* refused */ }
  };
  const add = (tag, attributes) => {
    const e = document.createElement(tag);
    for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
    document.body.append(e);
    return e;
  };
  await attempt("fetch", () => fetch(at("fetch"), { mode: "no-cors" }).then(() => true));
  await attempt("HTML", () => {
    document.body.insertAdjacentHTML("beforeend", "<p id=injected>x</p>");
    return document.getElementById("injected");
  });
  await attempt("script", () => {
    const e = document.createElement("script");
    e.text = "window.ran = true";
    document.body.append(e);
    return window.ran;
  });
  await attempt("handler", () => {
    add("button", { onclick: "window.clicked = true" }).click();
    return window.clicked;
  });
  await attempt("worker", () => Boolean(new Worker(at("worker.js"))));
  await attempt("timer", async () => {
    setTimeout("window.timed = true");
    await new Promise((r) => setTimeout(r, 10));
    return window.timed;
  });
  await attempt("beacon", () => void navigator.sendBeacon(at("beacon"), "x"));
  await attempt("socket", () => void new WebSocket(at("socket").replace("http", "ws")));
  await attempt("events", () => void new EventSource(at("events")));
  await attempt("elements", () => {
    add("img", { src: at("img") });
    add("iframe", { src: at("iframe") });
    add("link", { rel: "stylesheet", href: at("style.css") });
    add("link", { rel: "manifest", href: at("manifest") });
    add("video", { src: at("video") });
    add("object", { data: at("object") });
    add("div", { style: `background: url(${at("background")})` });
  });
  await attempt("form", () => {
    const f = add("form", { action: at("form"), method: "post", target: "_blank" });
    f.append(document.createElement("input"));
    f.requestSubmit();
  });
  await attempt("base", () => {
    add("base", { href: at("") });
    return document.baseURI.startsWith(elsewhere);
  });
  // Requests to the server are allowed: this one is after all others.
  // On a busy machine the browser may give up a connection, and make another.
  for (let tries = 1; ; tries++) {
    try {
      await fetch(document.querySelector("main").dataset.server + "/", { mode: "no-cors" });
      break;
    } catch (e) {
      if (tries === 10) throw e;
      await new Promise((r) => setTimeout(r, 200));
    }
  }
  await new Promise((r) => setTimeout(r, 100));
  return faults;
})()
