// One of several Hocuspocus servers. What is written to a document on one of them Redis tells the others that have it open.
import { Redis } from "@hocuspocus/extension-redis";
import { Server } from "@hocuspocus/server";

const { PORT, REDIS_PORT = 6379 } = process.env;
const server = new Server({ extensions: [new Redis({ host: "127.0.0.1", port: Number(REDIS_PORT) })] });
server.webSocketServer.on("headers", (headers) => headers.push(`x-server: ${PORT}`));
process.once("SIGTERM", async () => {
  await server.destroy();
  process.exit();
});
// Hocuspocus 3.4 listens on all addresses, whichever it is given.
server.httpServer.listen({ host: "127.0.0.1", port: Number(PORT) }, () => console.log(`listening on ${PORT}`));
