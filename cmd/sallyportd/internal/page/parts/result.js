// What is open, for whom, how long, and where to go next.

function show(op, result) {
  const done = op.close ? "closed" : "open";
  const sure = result.outcome === "sent" && op.algorithm > 1;
  const name = `Service ${op.service}`;
  byID("outcome").textContent = sure ? `${name} is ${done}` : `${name} may be ${done}`;
  let message = `${name} is ${done}.`;
  if (result.outcome === "unsure") message = `The page has sent its response, but cannot see whether it has arrived. ${name} may be ${done}.`;
  else if (!sure) message = `The page has sent its response. ${name} is ${done} if the server accepts it.`;
  byID("who").textContent = who(op, result);
  byID("uses").hidden = !op.uses;
  byID("uses").textContent = op.uses === 1 ? "This was the only use." : `It can be used ${op.uses} times in all.`;
  where(op, result);
  byID("result").hidden = false;
  say(message);
  count(op, result.begun); // last: the time may be over
}

function who(op, result) {
  if (result.kind === kinds.connection) return "For the next connection, from any address.";
  const address = addressText(result.client);
  if (op.close) return `Closed for your address, ${address}. Connections that exist ${op.cut ? "have ended" : "may continue"}.`;
  if (op.anyone) return "For all addresses.";
  if (op.random) return `For your address, ${address}, and for one connection.`;
  return `For your address, ${address}. All devices behind this address can connect, for example those in the same Wi-Fi.`;
}

function where(op, result) {
  const port = op.random ? result.port : op.port;
  byID("next").hidden = op.close || !port;
  if (op.close || !port) return;
  const host = isolated(op.host.includes(":") ? `[${op.host}]` : op.host);
  byID("link").hidden = !op.scheme;
  byID("target").hidden = Boolean(op.scheme);
  if (op.scheme) {
    byID("link").replaceChildren(`${op.scheme}://`, host, `:${port}/`);
    byID("link").href = byID("link").textContent;
  }
  byID("target").replaceChildren(isolated(op.host), `, ${op.udp ? "UDP" : "TCP"} port ${port}`);
  // The service opens for the address from which the exchange came, so of one family.
  const direct = op.addresses[result.kind];
  byID("family").hidden = !direct || direct === op.host;
  byID("family").textContent = `Open for IPv${result.kind === kinds.request6 ? 6 : 4} only. If the name does not work, use ${direct}.`;
}

// isolated is a name whose script may run from right to left. The text after it does not.
function isolated(name) {
  const e = document.createElement("bdi");
  e.textContent = name;
  return e;
}

// count shows the time that is left, each second. Screen readers do not read each of them.
function count(op, begun) {
  byID("time").hidden = op.close;
  if (op.close) return;
  if (!op.openFor) {
    byID("time").textContent = "Until it is closed: by a page or a command that closes it, or by the administrator.";
    return;
  }
  const end = begun + op.openFor * 1000;
  const today = new Date(begun).toDateString() === new Date(end).toDateString();
  const clock = today ? new Date(end).toLocaleTimeString() : new Date(end).toLocaleString();
  const tick = () => {
    const left = Math.max(0, Math.ceil((end - Date.now()) / 1000));
    byID("time").textContent = `Until ${clock}: ${lasting(left)} left. ${op.cut ? "Connections end then." : "Connections continue after it."}`;
    if (left > 0) return;
    clearInterval(counting);
    byID("time").textContent = `Closed since ${clock}.`;
    byID("next").hidden = true;
    byID("outcome").textContent = `Service ${op.service} is closed again`;
    say(`The time is over. Service ${op.service} is closed to new connections. To open it again, type the passphrase again.`);
  };
  counting = setInterval(tick, 1000);
  tick();
}

function lasting(seconds) {
  const parts = [[86400, "day"], [3600, "hour"], [60, "minute"], [1, "second"]];
  const texts = [];
  for (const [unit, name] of parts) {
    const n = Math.floor(seconds / unit);
    seconds %= unit;
    if (n) texts.push(`${n} ${name}${n > 1 ? "s" : ""}`);
  }
  return texts.slice(0, 2).join(" ") || "nothing";
}
