// One of several Hocuspocus servers. What is written to a document on one of them Redis tells the others that have it open.
import { Redis } from "@hocuspocus/extension-redis";
import { Server } from "@hocuspocus/server";

const { PORT, REDIS_PORT = 6379 } = process.env;
const server = new Server({
  address: "127.0.0.1",
  port: Number(PORT),
  quiet: true,
  extensions: [new Redis({ host: "127.0.0.1", port: Number(REDIS_PORT) })],
});
server.webSocketServer.on("headers", (headers) => headers.push(`x-server: ${PORT}`));
await server.listen();
console.log(`listening on ${PORT}`);
