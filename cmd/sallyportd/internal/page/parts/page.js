// The page: it asks for the passphrase, performs the exchange, and shows the result. All
// text of the plan and of the server goes in as text, never as HTML.

const page = document.querySelector("main").dataset;
const patience = 10000; // ms for an answer of the server
const maxAnswer = 1024; // bytes; a challenge's page has fewer
const byID = (id) => document.getElementById(id);

function fetchServer(url, options) {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), patience);
  return fetch(url, {
    credentials: "omit", cache: "no-store", referrerPolicy: "no-referrer", signal: abort.signal, ...options,
  }).finally(() => clearTimeout(timer));
}

function post(body, options) {
  const headers = { "Content-Type": "application/x-www-form-urlencoded" };
  return fetchServer(page.server + "/", { method: "POST", headers, body, ...options });
}

function get(form, options) {
  return fetchServer(page.server + pathOf(form), options);
}

// ask sends a request by post or get, and returns the answer. A page of another origin, or
// of a file, can read an answer only if it is a challenge.
async function ask(by, form) {
  try {
    const r = await by(form, { mode: "cors", redirect: "manual" });
    if (!r.ok || !r.body) return { reached: true, answer: "" };
    const reader = r.body.getReader();
    let all = new Uint8Array(0);
    for (let part; !(part = await reader.read()).done && all.length <= maxAnswer;) all = join(all, part.value);
    reader.cancel();
    return { reached: true, answer: all.length > maxAnswer ? "" : new TextDecoder().decode(all) };
  } catch {
    return { reached: false, answer: "" };
  }
}

// reaches reports whether any answer comes, which this page need not be able to read.
async function reaches(fetching) {
  try {
    await fetching();
    return true;
  } catch {
    return false;
  }
}

// exchange performs the exchange of a plan. The outcome is "sent", "unsure" (whether
// the response has arrived), "foreign" (a challenge that is not authentic), "silent"
// (no challenge), "unreachable" or "offline".
async function exchange(op) {
  let reached = false, foreign = false;
  // A web server before this one may take no forms: then messages go in paths.
  for (const by of [post, get]) {
    for (const kind of op.kinds) {
      const e = begin(op, kind);
      const asked = await ask(by, await requestOf(e, Date.now()));
      reached = reached || asked.reached;
      const challenge = challengeOf(asked.answer);
      const response = challenge && await respond(e, challenge);
      foreign = foreign || challenge && !response;
      if (!response) continue;
      const begun = Date.now();
      const send = () => reaches(() => by(response.form, { mode: "no-cors" }));
      const sent = await send() || await send(); // the server ignores the second one
      return { ...response, kind, begun, outcome: sent ? "sent" : "unsure" };
    }
    if (foreign) break;
  }
  if (foreign) return { outcome: "foreign" };
  reached = reached || await reaches(() => fetchServer(page.server + "/", { mode: "no-cors" }));
  if (reached) return { outcome: "silent" };
  // Browsers know only whether there is a network, and not always.
  return { outcome: navigator.onLine === false ? "offline" : "unreachable" };
}

const failures = {
  offline: "This device is offline. Connect it to a network, and try again.",
  passphrase: "This passphrase is wrong. The page has sent nothing.",
  expired: "This page has expired. Ask the administrator for a new one.",
  insecure: "This browser gives a page no cryptography here. Open the page by https, or as a file, in a current browser.",
  foreign: "The answer was not made with the secret of this page, so the page did not respond, and nothing has opened. Either the administrator has replaced the secret: ask for a new page. Or another computer answers in the server's place: try another network.",
  silent: "The server answers, but does not offer to open. The page may have expired, or has been used already, or does not count from this network. Ask the administrator.",
  unreachable: "The page does not reach the server. Check the connection, and try again. Some networks block servers that they do not know.",
  error: "The page failed. Reload it, and try again.",
};

function say(message, failed) {
  byID("status").textContent = message;
  byID("status").className = failed ? "failed" : "";
}

let counting = 0;

function reset() {
  clearInterval(counting);
  byID("result").hidden = true;
  byID("passphrase").value = "";
}

async function run() {
  const passphrase = byID("passphrase").value;
  reset();
  if (!window.crypto || !crypto.subtle) return say(failures.insecure, true);
  say("Checking the passphrase …");
  const op = await unlock(passphrase, page);
  if (!op) return say(failures.passphrase, true);
  if (op.expires && Date.now() >= op.expires * 1000) return say(failures.expired, true);
  say("Asking the server …");
  const result = await exchange(op);
  if (failures[result.outcome]) return say(failures[result.outcome], true);
  show(op, result);
  if (op.url && !op.random && result.outcome === "sent") await tryService(op);
}

// tryService tells whether the service answers. It takes a moment to open.
async function tryService(op) {
  const done = byID("status").textContent;
  for (const wait of [300, 700, 1500]) {
    await new Promise((r) => setTimeout(r, wait));
    if (await reaches(() => fetchServer(op.url, { mode: "no-cors" }))) return say(done + " It answers.");
  }
  say(done + " This page got no answer of the service; the link may still work.");
}

byID("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = byID("open");
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true"); // it keeps the focus
  try {
    await run();
  } catch {
    say(failures.error, true);
  }
  button.removeAttribute("aria-disabled");
  if (byID("status").className === "failed") byID("passphrase").focus();
});

byID("show").addEventListener("change", (event) => {
  byID("passphrase").type = event.target.checked ? "text" : "password";
});

// A page that the browser keeps in memory shows nothing of the last visit.
window.addEventListener("pagehide", () => (reset(), say("")));
