// `node check.js HOST:PORT COMMAND…`: four people in each of eight rooms talk while the command runs, and count. With FORGET=1 who comes back does not say
// what it has heard.
import { spawn } from "node:child_process";
import { WebSocket } from "ws";

const [host, command, ...rest] = process.argv.slice(2);
const ROOMS = 8, PEOPLE = 4, PATIENCE = 20_000;
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const until = async (condition) => {
  for (const end = Date.now() + PATIENCE; !condition() && Date.now() < end; ) await pause(50);
};
const run = Date.now().toString(36);
const said = new Map();
const closes = { 1012: 0, other: 0 };
let isOver = false;

class Person {
  heard = [];
  position = -1;
  count = 0;
  unkept = new Map();
  constructor(index) {
    this.name = `${run}-${index}`;
    this.room = `${run}-room-${index % ROOMS}`;
    this.connect();
  }
  connect() {
    const after = process.env.FORGET && this.ws ? "new" : this.position;
    this.ws = new WebSocket(`ws://${host}/rooms/${this.room}?after=${after}`);
    this.ws.on("upgrade", (response) => (this.server = response.headers["x-server"]));
    this.ws.on("open", () => this.unkept.forEach((text, id) => this.ws.send(JSON.stringify({ id, text }))));
    this.ws.on("message", (frame) => this.hear(JSON.parse(frame)));
    this.ws.on("error", () => {});
    this.ws.on("close", (code) => {
      if (isOver) return;
      closes[code in closes ? code : "other"]++;
      setTimeout(() => this.connect(), Math.random() * 200);
    });
  }
  hear({ kept, position, id }) {
    if (kept) return this.unkept.delete(kept);
    this.heard.push({ position, id });
    this.position = Math.max(this.position, position);
  }
  say() {
    const id = `${this.name}-${this.count++}`;
    this.unkept.set(id, id);
    said.set(id, this.room);
    if (this.ws.readyState === WebSocket.OPEN) this.ws.send(JSON.stringify({ id, text: id }));
  }
}

const people = Array.from({ length: ROOMS * PEOPLE }, (_, index) => new Person(index));
await until(() => people.every(({ ws }) => ws.readyState === WebSocket.OPEN));
const rooms = [...new Set(people.map(({ room }) => room))];
const scattered = rooms.filter((room) => new Set(people.filter((one) => one.room === room).map(({ server }) => server)).size > 1);

const child = spawn(command, rest, { stdio: ["ignore", 2, 2] });
let isRunning = true;
child.on("exit", () => (isRunning = false));
while (isRunning) {
  for (const person of people) person.say();
  await pause(100);
}
const of = (room) => [...said].filter(([, in_]) => in_ === room).map(([id]) => id);
const wanted = new Map(rooms.map((room) => [room, of(room)]));
const lacks = ({ room, heard }) => {
  const ids = new Set(heard.map(({ id }) => id));
  return wanted.get(room).filter((id) => !ids.has(id)).length;
};
await until(() => people.every((person) => lacks(person) === 0));
const figures = { sent: said.size, got: 0, lost: 0, doubled: 0, "out of order": 0, "rooms on several servers": scattered.length, "closed with 1012": closes[1012], "ended otherwise": closes.other };
for (const person of people) {
  figures.got += person.heard.length;
  figures.lost += lacks(person);
  figures.doubled += person.heard.length - new Set(person.heard.map(({ id }) => id)).size;
  figures["out of order"] += person.heard.filter(({ position }, at) => position < person.heard[at - 1]?.position).length;
}
for (const [name, figure] of Object.entries(figures)) console.log(`${name}: ${figure}`);
isOver = true;
process.exit();
