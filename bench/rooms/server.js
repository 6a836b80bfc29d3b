// One of several servers of rooms, and two ways to run them. SHARE=all: whatever is said goes through STORE, and every server that has somebody of the room hears it
// there, so it does not matter which of them somebody reaches. SHARE=split: a room is in the memory of the server that its people reach, and STORE carries it only
// while two servers have people of it, as while one is drained, and what a server leaves when it ends. SHARE=none is the control: nothing between the servers.
import { createServer } from "node:http";
import { setTimeout } from "node:timers/promises";
import { WebSocketServer } from "ws";

const { HOST, PORT, STORE, SHARE } = process.env;
const ID = `${HOST}:${PORT}`;
/** How many messages of a room are there for who comes, and how long those have whose server ends. */
const KEEP = 1000, GOODBYE = 2000;
const { connect } = await import(STORE.startsWith("nats:") ? "./nats.js" : "./redis.js");
const store = await connect(STORE, { id: ID, keep: KEEP, echo: SHARE === "all" });

/** What was said, and the people who hear it. */
class Room {
  said = [];
  heads = new Map(); // by speaker: the number of the last message
  people = new Set();
  hearers = new Set();

  constructor(name) {
    this.name = name;
    this.opened = this.open();
  }

  async open() {}

  hear(message) {
    // Whoever was not told that a message is kept says it again.
    if (message.n <= (this.heads.get(message.from) ?? -1)) return;
    this.heads.set(message.from, message.n);
    if (this.said.push(message) > KEEP) this.said.shift();
    const text = JSON.stringify(message);
    for (const hearer of this.hearers) hearer.send(text);
  }

  async say(message) {
    this.hear(message);
  }

  /** The last one has gone. */
  empty() {}

  /** The server ends. */
  async end() {}

  close() {
    this.unfollow?.();
    rooms.delete(this.name);
  }
}

/** In the store. */
class Shared extends Room {
  async open() {
    let early = [];
    this.unfollow = await store.follow(this.name, (message) => (early ? early.push(message) : this.hear(message)));
    const kept = await store.kept(this.name);
    for (const message of [...kept, ...early]) this.hear(message);
    early = null;
  }

  say(message) {
    return store.keep(this.name, message);
  }

  empty() {
    this.close();
  }
}

/** In the memory of a server, or for a while of several, each of which then tells the others what is said to it. */
class Split extends Room {
  others = new Set();

  async open() {
    let early = [];
    const followed = store.follow(this.name, async (note, answer) => {
      if (!note.hello) return early ? early.push(note) : this.note(note);
      // Whoever comes hears also what was left here.
      await this.inherited;
      const stays = this.people.size > 0;
      answer({ id: ID, said: this.said, stays });
      if (stays) this.others.add(note.hello);
      else this.close();
    });
    this.inherited = followed.then(async (unfollow) => {
      this.unfollow = unfollow;
      for (const message of await store.left(this.name)) this.hear(message);
    });
    await this.inherited;
    for (const { id, said, stays } of await store.ask(this.name, { hello: ID })) {
      for (const message of said) this.hear(message);
      if (stays) this.others.add(id);
    }
    for (const note of early) this.note(note);
    early = null;
  }

  note({ said, bye }) {
    if (bye) this.others.delete(bye);
    else this.hear(said);
  }

  async say(message) {
    this.hear(message);
    if (this.others.size > 0) store.tell(this.name, { said: message });
  }

  empty() {
    // Who is alone keeps the room for whoever comes back.
    if (this.others.size === 0) return;
    store.tell(this.name, { bye: ID });
    this.close();
  }

  async end() {
    if (this.others.size > 0) store.tell(this.name, { bye: ID });
    else await store.leave(this.name, this.said);
  }
}

const Kind = { all: Shared, split: Split, none: Room }[SHARE];
const rooms = new Map();
const server = createServer((_, response) => response.writeHead(404).end());
const sockets = new WebSocketServer({ server });
sockets.on("headers", (headers) => headers.push(`x-served-by: ${ID}`));
sockets.on("connection", (ws, request) => {
  const { pathname, searchParams } = new URL(request.url, "http://rooms");
  const [name, from] = [pathname.split("/")[2], searchParams.get("as")];
  if (!rooms.has(name)) rooms.set(name, new Kind(name));
  const room = rooms.get(name);
  room.people.add(ws);
  ws.on("error", () => {});
  ws.on("message", async (frame) => {
    const { have, n, text } = JSON.parse(frame);
    await room.opened;
    if (!have) {
      await room.say({ from, n, text });
      return ws.send(JSON.stringify({ kept: n }));
    }
    for (const message of room.said) if (message.n > (have[message.from] ?? -1)) ws.send(JSON.stringify(message));
    if (ws.readyState === ws.OPEN) room.hearers.add(ws);
  });
  ws.on("close", async () => {
    room.people.delete(ws);
    room.hearers.delete(ws);
    await room.opened;
    if (room.people.size === 0 && rooms.get(name) === room) room.empty();
  });
});
process.on("SIGTERM", async () => {
  server.close();
  for (const ws of sockets.clients) ws.close(1012);
  for (const end = Date.now() + GOODBYE; sockets.clients.size > 0 && Date.now() < end; ) await setTimeout(10);
  await Promise.all([...rooms.values()].map((room) => room.end()));
  await store.end();
  process.exit();
});
server.listen(Number(PORT), HOST, () => console.log(`listening on ${ID}`));
