// One of several servers. What is said in a room is in a stream of NATS; each session hears it from the sequence on that it names.
import { DeliverPolicy, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { createServer } from "node:http";
import { WebSocketServer } from "ws";

const { PORT, NATS = "nats://127.0.0.1:4222" } = process.env;
const STREAM = "ROOMS";
const nats = await connect({ servers: NATS });
const streams = jetstream(nats);
// What comes twice with one id within two minutes counts once.
await (await jetstreamManager(nats)).streams.add({ name: STREAM, subjects: ["rooms.*"], duplicate_window: 120e9 });

const server = createServer((_, response) => response.writeHead(404).end());
const sockets = new WebSocketServer({ server });
sockets.on("headers", (headers) => headers.push(`x-server: ${PORT}`));
sockets.on("connection", async (ws, request) => {
  const { pathname, searchParams } = new URL(request.url, "http://rooms");
  const subject = `rooms.${pathname.split("/")[2]}`;
  ws.on("message", async (frame) => {
    try {
      const { id, text } = JSON.parse(frame);
      await streams.publish(subject, JSON.stringify({ id, text }), { msgID: id });
      ws.send(JSON.stringify({ kept: id }));
    } catch (error) {
      ws.close(error instanceof SyntaxError ? 1008 : 1011);
    }
  });
  const after = searchParams.get("after") ?? "-1";
  const from = after === "new" ? { deliver_policy: DeliverPolicy.New } : { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: Math.max(1, Number(after) + 1) };
  const consumer = await streams.consumers.get(STREAM, { filter_subjects: subject, ...from });
  const messages = await consumer.consume();
  ws.on("close", () => messages.close());
  if (ws.readyState !== ws.OPEN) messages.close();
  for await (const message of messages) ws.send(JSON.stringify({ position: message.seq, ...message.json() }));
});
server.listen(PORT, "127.0.0.1", () => console.log(`listening on ${PORT}`));
