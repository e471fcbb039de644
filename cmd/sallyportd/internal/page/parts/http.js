// The page's requests: each has an end, whatever the server and the network do.

const patience = 10000; // ms for an answer of the server, its body included
const maxAnswer = 1024; // bytes; a challenge's page has fewer

// visit ends when the browser leaves the page. Then the page asks and shows nothing more.
let visit = new AbortController();

// fetchServer fetches a URL, and returns what a function makes of the answer. After
// patience, or the end of the visit, it fails, also while the function reads the answer.
async function fetchServer(url, options, use = () => true) {
  const abort = new AbortController(), stop = () => abort.abort();
  const timer = setTimeout(stop, patience);
  visit.signal.addEventListener("abort", stop);
  try {
    if (visit.signal.aborted) stop();
    return await use(await fetch(url, {
      credentials: "omit", cache: "no-store", referrerPolicy: "no-referrer", signal: abort.signal, ...options,
    }));
  } finally {
    clearTimeout(timer);
    visit.signal.removeEventListener("abort", stop);
    stop(); // the rest of the answer is not received
  }
}

function post(body, options, use) {
  const headers = { "Content-Type": "application/x-www-form-urlencoded" };
  return fetchServer(page.server + "/", { method: "POST", headers, body, ...options }, use);
}

function get(form, options, use) {
  return fetchServer(page.server + pathOf(form), options, use);
}

// ask sends a request by post or get, and returns the answer, and whether patience has
// ended. A page of another origin, or of a file, can read an answer only if it is a
// challenge.
async function ask(by, form) {
  const asked = { reached: false, late: false, answer: "" };
  try {
    await by(form, { mode: "cors", redirect: "manual" }, async (r) => {
      asked.reached = true;
      if (r.ok && r.body) asked.answer = await read(r.body.getReader());
    });
  } catch (e) {
    asked.late = e.name === "AbortError";
  }
  return asked;
}

// read reads an answer, which is empty if it is too long for a challenge.
async function read(reader) {
  let all = new Uint8Array(0);
  for (let part; !(part = await reader.read()).done;) {
    all = join(all, part.value);
    if (all.length > maxAnswer) return "";
  }
  return new TextDecoder().decode(all);
}

// reaches reports whether any answer comes, which this page need not be able to read.
async function reaches(fetching) {
  try {
    return await fetching();
  } catch {
    return false;
  }
}

// exchange performs the exchange of a plan. The outcome is "sent", "unsure" (whether
// the response has arrived), "foreign" (a challenge that is not authentic), "silent"
// (no challenge), "unreachable" or "offline".
async function exchange(op) {
  let reached = false, foreign = false, late = false;
  // A web server before this one may take no forms: then messages go in paths.
  for (const by of [post, get]) {
    for (const kind of op.kinds) {
      const e = begin(op, kind);
      const asked = await ask(by, await requestOf(e, Date.now()));
      reached = reached || asked.reached;
      late = asked.late;
      const challenge = challengeOf(asked.answer);
      const response = challenge && await respond(e, challenge);
      foreign = foreign || challenge && !response;
      if (late) break; // a request of the other kind would wait as long
      if (!response) continue;
      const begun = Date.now();
      const send = () => reaches(() => by(response.form, { mode: "no-cors" }));
      const sent = await send() || await send(); // the server ignores the second one
      return { ...response, kind, begun, outcome: sent ? "sent" : "unsure" };
    }
    if (foreign) break;
  }
  if (foreign) return { outcome: "foreign" };
  reached = reached || !late && await reaches(() => fetchServer(page.server + "/", { mode: "no-cors" }));
  if (reached) return { outcome: "silent" };
  // Browsers know only whether there is a network, and not always.
  return { outcome: navigator.onLine === false ? "offline" : "unreachable" };
}
