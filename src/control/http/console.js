"use strict";
// The console: asks the API every few seconds. Text from the queue is shown as text only, never as markup.

const REFRESH_MS = 3000;
const PAGE = 100;
const suspension = (command) => `held: suspended; \`${command}\` resumes delivery`;
const byId = (id) => document.getElementById(id);
let timer = null;

// `…/#token=TOKEN` signs in; the token then leaves the address bar and stays with this tab.
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  sessionStorage.setItem("token", given);
  history.replaceState(null, "", location.pathname);
}

async function ask(path) {
  const token = sessionStorage.getItem("token") ?? "";
  const response = await fetch(path, { headers: { authorization: `Bearer ${token}` } });
  if (response.status === 401) throw new Error("token");
  if (!response.ok) throw new Error((await response.json()).error ?? response.statusText);
  return response;
}

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text ?? "";
  return made;
}

// ISO 8601 in the viewer's zone, which is named: "2026-11-25 23:04:05 +02:00".
function zoned(date) {
  const minutes = -date.getTimezoneOffset();
  const two = (number) => String(Math.trunc(number)).padStart(2, "0");
  const local = new Date(date.getTime() + minutes * 60000).toISOString();
  const zone = `${minutes < 0 ? "-" : "+"}${two(Math.abs(minutes) / 60)}:${two(Math.abs(minutes) % 60)}`;
  return `${local.slice(0, 10)} ${local.slice(11, 19)} ${zone}`;
}

function showCounters(text) {
  const sums = new Map();
  for (const line of text.split("\n")) {
    const found = /^ringpost_(\w+)(?:\{[^}]*\})? (\d+)$/.exec(line);
    if (found) sums.set(found[1], (sums.get(found[1]) ?? 0) + Number(found[2]));
  }
  byId("counters").replaceChildren(...[...sums].map(([name, value]) => {
    const box = element("div");
    box.append(element("dt", name.replace(/_total$/, "").replaceAll("_", " ")), element("dd", value.toLocaleString()));
    return box;
  }));
}

function showMessages(page) {
  const time = (text) => {
    const made = element("time", text && zoned(new Date(text)));
    if (text) made.dateTime = text;
    return made;
  };
  const why = ({ suspended, resume, why }) => [suspended && suspension(resume), why].filter(Boolean).join("; ");
  const rows = page.messages.flatMap((message) => message.recipients.map((recipient) => {
    const row = element("tr");
    const cells = [message.id, time(message.arrival), `<${message.sender}>`, recipient.address, recipient.state,
      recipient.attempts, time(recipient.suspended ? null : recipient.next), why(recipient)];
    row.append(...cells.map((cell) => {
      const made = element("td", cell instanceof Node ? "" : cell);
      if (cell instanceof Node) made.append(cell);
      return made;
    }));
    return row;
  }));
  byId("messages").replaceChildren(...rows);
  byId("more").textContent = page.next ? `The first ${page.messages.length} messages are shown; narrow the filter to see others.`
    : rows.length ? "" : "Nothing is queued that fits.";
}

async function refresh() {
  clearTimeout(timer);
  const filter = new URLSearchParams([...new FormData(byId("filter"))].filter(([, value]) => value));
  try {
    const [metrics, count, page] = await Promise.all([
      ask("metrics").then((response) => response.text()),
      ask(`api/v1/queue/count?${filter}`).then((response) => response.json()),
      ask(`api/v1/queue?limit=${PAGE}&${filter}`).then((response) => response.json()),
    ]);
    showCounters(metrics);
    byId("queued").textContent = `(${count.recipients.toLocaleString()} recipients)`;
    showMessages(page);
    setState(`running, as of ${zoned(new Date())}`, false);
    byId("content").hidden = false;
    byId("sign-in").hidden = true;
  } catch (error) {
    if (error.message === "token") {
      setState("sign in to see the queue", false);
      byId("content").hidden = true;
      byId("sign-in").hidden = false;
      return;
    }
    setState(`no answer: ${error.message}`, true);
  }
  timer = setTimeout(refresh, REFRESH_MS);
}

function setState(text, bad) {
  byId("state").textContent = text;
  byId("state").classList.toggle("bad", bad);
}

byId("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", byId("token").value.trim());
  byId("token").value = "";
  refresh();
});
byId("filter").addEventListener("submit", (event) => event.preventDefault());
byId("filter").addEventListener("change", refresh);
refresh();
