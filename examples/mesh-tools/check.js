// `node check.js HOST:PORT/PATH`: sixty handshakes, each of a key of its own. Half of the sessions talk for four seconds, half are silent; then the server
// ends them. ONE_BY_ONE=1: each handshake waits for the answer to the one before. AGAIN=1: all of them once more, to see where they are.
import { WebSocket } from "ws";

const address = process.argv[2];
const KEYS = 60, TALK = 4_000, PATIENCE = 20_000, LATE = 400;
const figures = {
  handshakes: KEYS, "answered with 101": 0, "answered with 500": 0, "answered with 503": 0, "answered with 504": 0, "not answered": 0,
  "answered after 400 ms or more": 0, "seconds until the last answer": 0,
  sent: 0, got: 0, lost: 0, doubled: 0, "out of order": 0,
  "closed with 1000": 0, "closed with 1001": 0, "cut off": 0,
};
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const until = async (condition) => {
  for (const end = Date.now() + PATIENCE; !condition() && Date.now() < end; ) await pause(50);
};

/** A session, or the status of the answer. */
function open(key) {
  const begin = Date.now();
  return new Promise((done) => {
    const ws = new WebSocket(`ws://${address}?room=${key}`, { handshakeTimeout: PATIENCE });
    const answered = (what) => {
      done([what, Date.now() - begin]);
    };
    Object.assign(ws, { key, said: 0, heard: [] });
    ws.on("upgrade", (response) => (ws.server = response.headers["x-server"]));
    ws.on("message", (text) => ws.heard.push(Number(text)));
    ws.on("close", (code) => (ws.closed = code));
    ws.on("open", () => answered(ws));
    ws.on("unexpected-response", (_, response) => {
      response.resume();
      answered(response.statusCode);
    });
    ws.on("error", () => answered("nothing"));
  });
}

async function openAll() {
  const keys = Array.from({ length: KEYS }, (_, key) => key);
  if (!process.env.ONE_BY_ONE) return Promise.all(keys.map(open));
  const all = [];
  for (const key of keys) all.push(await open(key));
  return all;
}

const answers = await openAll();
for (const [answer, ms] of answers) {
  const status = answer instanceof WebSocket ? 101 : answer;
  figures[status === "nothing" ? "not answered" : `answered with ${status}`]++;
  if (ms >= LATE) figures["answered after 400 ms or more"]++;
  figures["seconds until the last answer"] = Math.max(figures["seconds until the last answer"], Math.floor(ms / 1000));
}
const sessions = answers.map(([answer]) => answer).filter((answer) => answer instanceof WebSocket);
const talkers = sessions.filter(({ key }) => key % 2 === 0);
for (const end = Date.now() + TALK; Date.now() < end; await pause(50)) {
  for (const ws of talkers) if (ws.readyState === WebSocket.OPEN) ws.send(`${ws.said++}`);
}
await until(() => talkers.every((ws) => ws.closed || new Set(ws.heard).size === ws.said));
for (const ws of sessions) if (ws.readyState === WebSocket.OPEN) ws.send("bye");
await until(() => sessions.every((ws) => ws.closed));
for (const { said, heard, closed } of sessions) {
  const distinct = new Set(heard).size;
  figures.sent += said;
  figures.got += heard.length;
  figures.lost += said - distinct;
  figures.doubled += heard.length - distinct;
  figures["out of order"] += heard.filter((number, at) => number < heard[at - 1]).length;
  figures[closed === 1000 || closed === 1001 ? `closed with ${closed}` : "cut off"]++;
}
if (process.env.AGAIN) {
  const before = new Map(sessions.map(({ key, server }) => [key, server]));
  const again = (await openAll()).map(([answer]) => answer).filter((answer) => answer instanceof WebSocket);
  figures["on another server than before"] = again.filter(({ key, server }) => before.has(key) && before.get(key) !== server).length;
  for (const ws of again) ws.terminate();
}
for (const [name, figure] of Object.entries(figures)) console.log(`${name}: ${figure}`);
process.exit();
