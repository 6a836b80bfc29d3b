// `node slow.js HOST:PORT`: one speaks in a room, and two hear it. Then somebody comes in who reads nothing, until all is said and the two have heard it.
import { WebSocket } from "ws";

const host = process.argv[2];
const room = `${Date.now().toString(36)}-slow`;
const TEXT = "x".repeat(32 * 1024), WARM = 200, BEFORE = 400, MEANWHILE = 1000, PATIENCE = 30_000;
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const until = async (condition) => {
  for (const end = Date.now() + PATIENCE; !condition() && Date.now() < end; ) await pause(20);
};
const said = [];

class Person {
  got = 0;
  delays = [];
  ws = new WebSocket(`ws://${host}/rooms/${room}`);
  constructor() {
    this.ws.on("message", (frame) => {
      const { id } = JSON.parse(frame);
      // In order, and nothing twice.
      if (id !== String(this.got)) return;
      this.delays[this.got] = Date.now() - said[this.got];
      this.got++;
    });
  }
  isIn() {
    return this.ws.readyState === WebSocket.OPEN;
  }
  delay(from) {
    const some = this.delays.slice(from).sort((a, b) => a - b);
    return some[some.length >> 1];
  }
}

const speaker = new Person();
const others = [new Person(), new Person()];
const say = async (count) => {
  for (const end = said.length + count; said.length < end; await pause(2)) {
    speaker.ws.send(JSON.stringify({ id: String(said.length), text: TEXT }));
    said.push(Date.now());
  }
  await until(() => others.every(({ got }) => got === said.length));
};
await until(() => [speaker, ...others].every((one) => one.isIn()));
await say(WARM);
await say(BEFORE);
const before = Math.max(...others.map((one) => one.delay(WARM)));
const slow = new Person();
slow.ws.on("open", () => slow.ws.pause());
await until(() => slow.isIn());
await say(MEANWHILE);
const meanwhile = Math.max(...others.map((one) => one.delay(WARM + BEFORE)));
const figures = { sent: said.length, "got by the others": Math.min(...others.map(({ got }) => got)), "got by who does not read": slow.got };
const { mostHeld } = await (await fetch(`http://${host}/rooms/${room}`)).json();
slow.ws.resume();
await until(() => slow.got === said.length);
figures["got by that one afterwards"] = slow.got;
figures["most messages held for a session"] = mostHeld;
figures["ms until the others hear, before"] = before;
figures["ms until the others hear, meanwhile"] = meanwhile;
for (const [name, figure] of Object.entries(figures)) console.log(`${name}: ${figure}`);
process.exit();
