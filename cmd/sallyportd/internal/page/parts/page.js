// The page: it asks for the passphrase, performs the exchange, and shows the result. All
// text of the plan and of the server goes in as text, never as HTML.

const page = document.querySelector("main").dataset;
const byID = (id) => document.getElementById(id);

const failures = {
  offline: "This device is offline. Connect it to a network, and try again.",
  passphrase: "This passphrase is wrong. The page has sent nothing.",
  expired: "This page has expired, by the clock of this device. If the clock is right, ask the administrator for a new page.",
  insecure: "This browser gives a page no cryptography here. Open the page by https, or as a file, in a current browser.",
  foreign: "The answer was not made with the secret of this page, so the page did not respond, and nothing has opened. Either the administrator has replaced the secret: ask for a new page. Or another computer answers in the server's place: try another network.",
  silent: "The server answers, but does not offer to open. The page has been revoked or has been used already, or does not count from this network, or the server is busy. Try again in a minute, or ask the administrator.",
  unreachable: "The page does not reach the server. Check the connection, and try again. Some networks require a login first, in another tab of this browser. Some block servers that they do not know.",
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
  visit = new AbortController();
  const here = visit.signal, passphrase = byID("passphrase").value;
  reset();
  if (!secure()) return say(failures.insecure, true);
  say("Checking the passphrase …");
  const op = await unlock(passphrase, page);
  if (here.aborted) return;
  if (!op) return say(failures.passphrase, true);
  if (op.expires && Date.now() >= op.expires * 1000) return say(failures.expired, true);
  say("Asking the server …");
  const result = await exchange(op);
  if (here.aborted) return;
  if (failures[result.outcome]) return say(failures[result.outcome] + clock(op, result), true);
  show(op, result);
  if (op.url && !op.random && result.outcome === "sent") await tryService(op, here);
}

// secure reports whether the browser gives the page cryptography.
function secure() {
  return Boolean(window.crypto && crypto.subtle);
}

// clock is what may be wrong with requests that age.
function clock(op, result) {
  if (!op.hop || result.outcome !== "silent") return "";
  return ` The clock of this device must be right; it shows ${new Date().toLocaleString()}.`;
}

// tryService tells whether the service answers. It takes a moment to open.
async function tryService(op, here) {
  const done = byID("status").textContent;
  let answers = false;
  for (const wait of [300, 700, 1500]) {
    await new Promise((r) => setTimeout(r, wait));
    answers = answers || await reaches(() => fetchServer(op.url, { mode: "no-cors" }));
    if (answers || here.aborted) break;
  }
  if (here.aborted || byID("status").textContent !== done) return; // left, or the time is over
  say(done + (answers ? " It answers." : " This page got no answer of the service; the link may still work."));
}

byID("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = byID("open");
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true"); // it keeps the focus
  try {
    await run();
  } catch {
    if (!visit.signal.aborted) say(failures.error, true);
  }
  button.removeAttribute("aria-disabled");
  if (byID("status").className === "failed") byID("passphrase").focus();
});

byID("show").addEventListener("change", (event) => {
  byID("passphrase").type = event.target.checked ? "text" : "password";
});

// A page that the browser keeps in memory shows nothing of the last visit, and ends what
// it does.
window.addEventListener("pagehide", () => {
  visit.abort();
  reset();
  byID("show").checked = false;
  byID("passphrase").type = "password";
  say("");
});

if (!secure()) say(failures.insecure, true);
