// One of several servers. What is said in a room is in a topic of Kafka, with the room as the key, so in one partition and in order. Each server reads the
// topic from its start, and each session hears its room from the offset on that it names.
import { Admin, Consumer, Producer, stringDeserializers, stringSerializers } from "@platformatic/kafka";
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { WebSocketServer } from "ws";

const { PORT, KAFKA = "127.0.0.1:9092" } = process.env;
const TOPIC = "rooms", PARTITIONS = 8;
const common = { clientId: `server-${PORT}`, bootstrapBrokers: [KAFKA] };

const admin = new Admin(common);
// Another server may have been faster.
await admin.createTopics({ topics: [TOPIC], partitions: PARTITIONS, replicas: 1 }).catch(() => {});
await admin.close();
const producer = new Producer({ ...common, serializers: stringSerializers });
const consumer = new Consumer({ ...common, groupId: `${common.clientId}-${randomUUID()}`, deserializers: stringDeserializers });
const messages = await consumer.consume({ topics: [TOPIC], mode: "earliest", autocommit: false, maxWaitTime: 50 });

/** What was said in each room, and who hears it. */
const rooms = new Map();
function roomOf(name) {
  if (!rooms.has(name)) rooms.set(name, { said: [], ids: new Set(), sessions: new Set() });
  return rooms.get(name);
}
messages.on("data", ({ key, value, offset }) => {
  const { said, ids, sessions } = roomOf(key);
  const { id, text } = JSON.parse(value);
  // Whoever was not told that a message is kept says it again.
  if (ids.has(id)) return;
  ids.add(id);
  said.push({ position: Number(offset), id, text });
  for (const hear of sessions) hear(said.at(-1));
});

const server = createServer((_, response) => response.writeHead(404).end());
const sockets = new WebSocketServer({ server });
sockets.on("headers", (headers) => headers.push(`x-server: ${PORT}`));
sockets.on("connection", (ws, request) => {
  const { pathname, searchParams } = new URL(request.url, "http://rooms");
  const name = pathname.split("/")[2];
  const { said, sessions } = roomOf(name);
  const given = searchParams.get("after") ?? "-1";
  const after = given === "new" ? (said.at(-1)?.position ?? -1) : Number(given);
  const hear = (message) => message.position > after && ws.send(JSON.stringify(message));
  said.forEach(hear);
  sessions.add(hear);
  ws.on("close", () => sessions.delete(hear));
  ws.on("message", async (frame) => {
    try {
      const { id, text } = JSON.parse(frame);
      await producer.send({ messages: [{ topic: TOPIC, key: name, value: JSON.stringify({ id, text }) }] });
      ws.send(JSON.stringify({ kept: id }));
    } catch (error) {
      ws.close(error instanceof SyntaxError ? 1008 : 1011);
    }
  });
});
server.listen(PORT, "127.0.0.1", () => console.log(`listening on ${PORT}`));
