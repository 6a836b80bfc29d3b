// `node clients.js URL COMMAND…`: sixty people in twelve rooms talk while the command runs, and every message is counted.
import { spawn } from "node:child_process";
import { io } from "socket.io-client";

const [url, ...command] = process.argv.slice(2);
const PEOPLE = 60, ROOMS = 12, EVERY = 500, PATIENCE = 15_000;
const figures = { sent: 0, got: 0, lost: 0, "left out": 0, doubled: 0, "out of order": 0, recovered: 0, "started anew": 0, "Session ID unknown": 0 };
// The servers pass each number of a user on once, and Redis may remember another run.
const run = Date.now().toString(36);
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const until = async (condition) => {
  for (const end = Date.now() + PATIENCE; !condition() && Date.now() < end; ) await pause(50);
  return condition();
};

function unknown(text) {
  if (String(text).includes("Session ID unknown")) figures["Session ID unknown"]++;
}

class Person {
  constructor(index) {
    this.user = `${run}-user-${index}`;
    this.room = `room-${index % ROOMS}`;
    this.said = []; // to whom each message went
    this.heard = new Map(); // by speaker: the numbers, in the order of their coming
    this.greeted = false;
    // The defaults: long polling first, then the upgrade. Unlike a browser's, the library for Node takes no cookies, so the key is in the query.
    this.socket = io(url, { query: { user: this.user, room: this.room }, forceNew: true, retries: 20, ackTimeout: 5000 });
    this.socket.on("connect", () => {
      figures[this.socket.recovered ? "recovered" : "started anew"]++;
      // Whoever had a WebSocket once comes back by one, without the requests before it.
      this.socket.io.engine.on("upgrade", () => (this.socket.io.opts.transports = ["websocket"]));
    });
    this.socket.on("connect_error", (error) => unknown(error.context?.responseText));
    this.socket.on("disconnect", (_, details) => {
      unknown(details?.context?.responseText);
      this.waiting = [];
    });
    this.socket.on("welcome", () => (this.greeted = true));
    // Until what was missed has come, what comes after it waits.
    this.waiting = [];
    this.socket.on("said", (...said) => (this.waiting ? this.waiting.push(said) : this.hear(said)));
    this.socket.on("missed", (missed) => {
      for (const said of [...missed, ...(this.waiting ?? [])]) this.hear(said);
      this.waiting = null;
    });
  }

  hear([user, number]) {
    if (!this.heard.has(user)) this.heard.set(user, []);
    if (this.heard.get(user).includes(number)) figures["left out"]++;
    else this.heard.get(user).push(number);
  }

  get settled() {
    return this.greeted && this.socket.io.engine?.transport.name === "websocket";
  }

  talk() {
    const to = this.said.length % 10 === 9 ? "everyone" : "the room";
    this.socket.emit("say", this.said.length, to);
    this.said.push(to);
    figures.sent++;
  }

  /** The numbers that this person should have heard of another. */
  due(other) {
    return [...other.said.keys()].filter((number) => other.room === this.room || other.said[number] === "everyone");
  }

  hasAll(others) {
    return others.every((other) => new Set(this.heard.get(other.user)).size >= this.due(other).length);
  }

  count(others) {
    for (const other of others) {
      const heard = this.heard.get(other.user) ?? [];
      const distinct = new Set(heard);
      figures.got += heard.length;
      figures.lost += this.due(other).filter((number) => !distinct.has(number)).length;
      figures.doubled += heard.length - distinct.size;
      figures["out of order"] += heard.filter((number, at) => number < heard[at - 1]).length;
    }
  }
}

const people = Array.from({ length: PEOPLE }, (_, index) => new Person(index));
if (!(await until(() => people.every((person) => person.settled)))) console.log("not everybody is there, and talking begins all the same");
let talking = true;
const talk = people.map(async (person, index) => {
  await pause((EVERY * index) / PEOPLE);
  for (; talking; await pause(EVERY)) person.talk();
});
const failed = await new Promise((done) => spawn(command[0], command.slice(1), { stdio: "inherit" }).on("exit", done));
talking = false;
await Promise.all(talk);
await until(() => people.every((person) => person.hasAll(people)));
for (const person of people) person.count(people);
for (const person of people) person.socket.disconnect();

for (const [name, figure] of Object.entries(figures)) console.log(`${name}: ${figure}`);
const bad = ["lost", "doubled", "out of order", "Session ID unknown"].some((name) => figures[name] > 0);
process.exit(failed || bad ? 1 : 0);
