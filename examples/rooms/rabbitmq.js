// One of several servers. Each room is an exchange of RabbitMQ, with a stream bound to it that keeps what was said; each session hears it from the offset on that
// it names. With EAGER=1 a server takes from RabbitMQ what it cannot send yet.
import { connect } from "amqplib";
import { createServer } from "node:http";
import { setTimeout } from "node:timers/promises";
import { WebSocketServer } from "ws";

const { PORT, RABBITMQ = "amqp://127.0.0.1", EAGER } = process.env;
// How many messages a session may have in hand, and how many back one that comes twice is known.
const PREFETCH = 32, WINDOW = 1000;
const rabbit = await connect(RABBITMQ);
rabbit.on("close", () => process.exit(1));

// A stream that somebody else is declaring cannot be read yet, so one at a time does: who has the exclusive queue.
async function declare(room) {
  const channel = await rabbit.createChannel();
  channel.on("error", () => {});
  const turn = `declaring.${room}`;
  try {
    await channel.assertQueue(turn, { exclusive: true });
  } catch (error) {
    if (error.code !== 405) throw error;
    await setTimeout(50);
    return declare(room);
  }
  await channel.assertExchange(room, "fanout");
  await channel.assertQueue(room, { arguments: { "x-queue-type": "stream" } });
  await channel.bindQueue(room, room, "");
  await channel.deleteQueue(turn);
  await channel.close();
}
const rooms = new Map();

let mostHeld = 0;
async function open(ws, room, after) {
  if (!rooms.has(room)) rooms.set(room, declare(room));
  await rooms.get(room);
  const channel = await rabbit.createConfirmChannel();
  channel.on("error", () => ws.close(1011));
  await channel.prefetch(PREFETCH);
  const known = new Set();
  let held = 0;
  const hear = (message) => {
    // The stream was deleted.
    if (!message) return ws.close(1012);
    mostHeld = Math.max(mostHeld, ++held);
    if (EAGER) channel.ack(message);
    const sent = (failed) => {
      held--;
      // The next one comes when this one has left.
      if (!failed && !EAGER) channel.ack(message);
    };
    const { messageId: id, headers } = message.properties;
    const position = headers["x-stream-offset"];
    // Whoever was not told that a message is kept says it again.
    const isNew = !known.has(id) && !(position <= after);
    known.add(id);
    if (known.size > WINDOW) known.delete(known.values().next().value);
    if (isNew) ws.send(JSON.stringify({ position, id, text: message.content.toString() }), sent);
    else sent();
  };
  const offset = after === "new" ? "next" : Math.max(0, Number(after) + 1 - WINDOW);
  await channel.consume(room, hear, { arguments: { "x-stream-offset": offset } });
  return channel;
}

const server = createServer((_, response) => response.end(JSON.stringify({ mostHeld })));
const sockets = new WebSocketServer({ server });
sockets.on("headers", (headers) => headers.push(`x-server: ${PORT}`));
sockets.on("connection", (ws, request) => {
  const { pathname, searchParams } = new URL(request.url, "http://rooms");
  const room = `room.${pathname.split("/")[2]}`;
  const opened = open(ws, room, searchParams.get("after") ?? "-1").catch(() => {
    rooms.delete(room);
    ws.close(1011);
  });
  ws.on("message", async (frame) => {
    const channel = await opened;
    try {
      const { id, text } = JSON.parse(frame);
      const kept = (refused) => refused || ws.send(JSON.stringify({ kept: id }));
      channel?.publish(room, "", Buffer.from(text), { messageId: id }, kept);
    } catch (error) {
      ws.close(error instanceof SyntaxError ? 1008 : 1011);
    }
  });
  ws.on("close", async () => (await opened)?.close().catch(() => {}));
});
server.listen(PORT, "127.0.0.1", () => console.log(`listening on ${PORT}`));
