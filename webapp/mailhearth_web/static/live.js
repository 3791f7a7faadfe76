// One event stream for all pages of this browser (a SharedWorker): what changed, by ids only.
//
// A page posts {start: URL} and gets {event: {workspace, kind, id}}, {gone: true} when the person
// may no longer look, or {poll: true} each half minute while there is no stream.
"use strict";
const POLL_MS = 30000;
const ports = new Set();
let source = null;
let url = "";
let timer = 0;

function tell(message) {
  for (const port of ports) { port.postMessage(message); }
}

function poll(on) {
  clearInterval(timer);
  timer = on ? setInterval(() => {
    tell({ poll: true });
    if (source === null && ports.size) { open(); }
  }, POLL_MS) : 0;
}

function open() {
  source = new EventSource(url);
  source.onopen = () => poll(false);
  source.onmessage = (message) => {
    try { tell({ event: JSON.parse(message.data) }); } catch (error) { /* not ours */ }
  };
  source.addEventListener("gone", () => tell({ gone: true }));
  source.onerror = () => {
    if (source && source.readyState === EventSource.CLOSED) { source = null; }
    if (!timer) { poll(true); }
  };
}

self.onconnect = (connection) => {
  const port = connection.ports[0];
  ports.add(port);
  port.onmessage = (message) => {
    if (message.data.start) {
      url = message.data.start;
      if (source === null) { open(); }
    }
    if (message.data.stop) {
      ports.delete(port);
      if (!ports.size && source) { source.close(); source = null; poll(false); }
    }
  };
  port.start();
};
