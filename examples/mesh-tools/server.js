// One of several servers: it says what it hears. `kill -USR2` makes it ill, so that it answers every handshake with 500, and well again.
import { createServer } from "node:http";
import { WebSocketServer } from "ws";

const { PORT, BACKLOG = 511 } = process.env;
let isIll = false;
process.on("SIGUSR2", () => (isIll = !isIll));

const server = createServer((_, response) => response.end(PORT));
const sockets = new WebSocketServer({ noServer: true });
sockets.on("headers", (headers) => headers.push(`x-server: ${PORT}`));
server.on("upgrade", (request, socket, head) => {
  if (isIll) return socket.end("HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
  sockets.handleUpgrade(request, socket, head, (ws) =>
    ws.on("message", (text) => (`${text}` === "bye" ? ws.close(1000, "bye") : ws.send(`${text}`))),
  );
});

// BACKLOG: how many connections wait for a server that accepts none.
server.listen({ port: PORT, host: "127.0.0.1", backlog: Number(BACKLOG) }, () => console.log(`listening on ${PORT}`));
