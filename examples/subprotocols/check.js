// `node check.js HOST:PORT`: of each kind six rooms of five people, who all talk, and count what they hear.
import { HttpTransportType, HubConnectionBuilder, LogLevel } from "@microsoft/signalr";
import { createClient } from "graphql-ws";
import mqtt from "mqtt";
import { WebSocket } from "ws";

const host = process.argv[2];
const ROOMS = 6, PEOPLE = 5, MESSAGES = 40, PATIENCE = 10_000;
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/** Each takes a room and what is to be called with a text that is heard there, and gives what says one, and what ends it. */
const kinds = {
  async graphql(room, hear) {
    const client = createClient({ url: `ws://${host}/ws/${room}`, webSocketImpl: WebSocket, retryAttempts: 0, lazy: false });
    const variables = { room };
    (async () => {
      for await (const { data } of client.iterate({ query: "subscription ($room: String!) { said(room: $room) }", variables })) hear(data.said);
    })().catch(() => {});
    const query = "mutation ($room: String!, $text: String!) { say(room: $room, text: $text) }";
    const say = (text) => client.iterate({ query, variables: { room, text } }).next();
    return { say, end: () => client.dispose() };
  },

  async mqtt(room, hear) {
    const client = await mqtt.connectAsync(`ws://${host}/ws/${room}`, { reconnectPeriod: 0 });
    client.on("message", (_, text) => hear(`${text}`));
    await client.subscribeAsync(room, { qos: 1 });
    return { say: (text) => client.publishAsync(room, text, { qos: 1 }), end: () => client.end(true) };
  },

  async signalr(room, hear) {
    const hub = new HubConnectionBuilder()
      .withUrl(`http://${host}/hub?room=${room}`, { transport: HttpTransportType.WebSockets, WebSocket })
      .configureLogging(LogLevel.None)
      .build();
    hub.on("said", hear);
    await hub.start();
    return { say: (text) => hub.send("say", text), end: () => hub.stop() };
  },
};

async function talk(kind) {
  const figures = { people: 0, refused: 0, sent: 0, got: 0, lost: 0, doubled: 0, "out of order": 0 };
  const all = Array.from({ length: ROOMS * PEOPLE }, (_, index) => ({ room: `room-${index % ROOMS}`, heard: [] }));
  const enter = async (person) => Object.assign(person, await kinds[kind](person.room, (text) => person.heard.push(text)));
  await Promise.all(all.map((person) => enter(person).catch(() => figures.refused++)));
  const people = all.filter(({ say }) => say);
  figures.people = people.length;
  await pause(500);
  for (let number = 0; number < MESSAGES; number++) {
    await Promise.all(people.map(({ say }, author) => say(`${author} ${number}`).catch(() => {})));
    figures.sent += people.length;
  }
  const there = (room) => people.filter((person) => person.room === room).length;
  const isDone = () => people.every(({ room, heard }) => heard.length >= there(room) * MESSAGES);
  for (const end = Date.now() + PATIENCE; !isDone() && Date.now() < end; ) await pause(50);
  for (const { room, heard } of people) {
    const last = {};
    const distinct = new Set(heard);
    figures.got += heard.length;
    figures.lost += there(room) * MESSAGES - distinct.size;
    figures.doubled += heard.length - distinct.size;
    for (const text of heard) {
      const [author, number] = text.split(" ").map(Number);
      figures["out of order"] += number < (last[author] ?? 0);
      last[author] = number;
    }
  }
  await Promise.all(people.map(({ end }) => end()));
  for (const [name, figure] of Object.entries(figures)) console.log(`${kind}, ${name}: ${figure}`);
}

for (const kind of Object.keys(kinds)) await talk(kind);
process.exit();
