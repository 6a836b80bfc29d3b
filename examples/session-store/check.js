// `node check.js HOST:PORT`: twenty people log in, open three sockets each and talk; half of them log out, the others' sessions expire.
import { WebSocket } from "ws";

const host = process.argv[2];
const PEOPLE = 20, SOCKETS = 3, MESSAGES = 50, PATIENCE = 40_000;
const figures = {
  sent: 0, got: 0, lost: 0, doubled: 0, "out of order": 0,
  "sessions on one server": 0, "sessions on several servers": 0,
  "let in from another Origin": 0, "let in with a made-up cookie": 0,
  "closed by logout": 0, "let in after logout": 0, "closed by expiry": 0, "let in after expiry": 0,
};
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const until = async (condition) => {
  for (const end = Date.now() + PATIENCE; !condition() && Date.now() < end; ) await pause(50);
};

/** A socket, or the status of the refusal. */
function open(cookie, origin = `http://${host}`) {
  return new Promise((done) => {
    const ws = new WebSocket(`ws://${host}/ws`, { headers: { cookie }, origin });
    ws.heard = [];
    ws.on("message", (text) => ws.heard.push(JSON.parse(text)));
    ws.on("close", (code, reason) => (ws.closed = `${code} ${reason}`));
    ws.on("open", () => done(ws));
    ws.on("unexpected-response", (_, response) => {
      response.resume();
      done(response.statusCode);
    });
    ws.on("error", () => done(0));
  });
}

/** How many of these come in. */
async function letIn(cookies, origin) {
  const answers = await Promise.all(cookies.map((cookie) => open(cookie, origin)));
  const sockets = answers.filter((answer) => answer instanceof WebSocket);
  for (const ws of sockets) ws.terminate();
  return sockets.length;
}

for (const end = Date.now() + PATIENCE; Date.now() < end; await pause(200)) {
  const answer = await fetch(`http://${host}/logout`, { method: "POST" }).catch(() => null);
  if (answer?.status === 204) break;
}
const people = await Promise.all(
  Array.from({ length: PEOPLE }, async (_, index) => {
    const answer = await fetch(`http://${host}/login/user-${index}`, { method: "POST" });
    // The headers are here before Redis has the session; the body ends after.
    await answer.text();
    const cookie = answer.headers.get("set-cookie").split(";")[0];
    return { user: `user-${index}`, cookie, sockets: await Promise.all(Array.from({ length: SOCKETS }, () => open(cookie))) };
  }),
);
const everySocket = people.flatMap((person) => person.sockets);
if (!everySocket.every((ws) => ws instanceof WebSocket)) throw new Error(`somebody who is logged in was refused: ${everySocket.filter((ws) => !(ws instanceof WebSocket))}`);

for (let number = 0; number < MESSAGES; number++) {
  for (const ws of everySocket) ws.send(`${number}`);
  figures.sent += everySocket.length;
  await pause(20);
}
await until(() => everySocket.every((ws) => ws.heard.length >= MESSAGES));
for (const { user, sockets } of people) {
  for (const { heard } of sockets) {
    const numbers = heard.filter((answer) => answer.user === user).map(({ said }) => Number(said));
    const distinct = new Set(numbers);
    figures.got += numbers.length;
    figures.lost += MESSAGES - distinct.size;
    figures.doubled += numbers.length - distinct.size;
    figures["out of order"] += numbers.filter((number, at) => number < numbers[at - 1]).length;
  }
  const servers = new Set(sockets.flatMap(({ heard }) => heard.map(({ server }) => server)));
  figures[servers.size === 1 ? "sessions on one server" : "sessions on several servers"]++;
}

const cookies = people.map(({ cookie }) => cookie);
figures["let in from another Origin"] = await letIn(cookies, "https://evil.example");
figures["let in with a made-up cookie"] = await letIn(cookies.map((cookie) => cookie.slice(0, -4) + "AAAA"));

const [leaving, staying] = [people.slice(0, PEOPLE / 2), people.slice(PEOPLE / 2)];
const closed = (them, how) => them.flatMap(({ sockets }) => sockets).filter((ws) => ws.closed === how).length;
for (const { cookie } of leaving) await fetch(`http://${host}/logout`, { method: "POST", headers: { cookie } });
await until(() => closed(leaving, "4401 logged out") === leaving.length * SOCKETS);
figures["closed by logout"] = closed(leaving, "4401 logged out");
figures["let in after logout"] = await letIn(leaving.map(({ cookie }) => cookie));
await until(() => closed(staying, "4401 expired") === staying.length * SOCKETS);
figures["closed by expiry"] = closed(staying, "4401 expired");
figures["let in after expiry"] = await letIn(staying.map(({ cookie }) => cookie));

for (const [name, figure] of Object.entries(figures)) console.log(`${name}: ${figure}`);
