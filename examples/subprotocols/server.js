// One of several servers that speak `node server.js graphql|mqtt|signalr`. What is said in a room stays in this process: nothing is shared.
import { Aedes } from "aedes";
import { buildSchema } from "graphql";
import { useServer } from "graphql-ws/use/ws";
import { EventEmitter, on } from "node:events";
import { createServer } from "node:http";
import { randomUUID } from "node:crypto";
import { createWebSocketStream, WebSocketServer } from "ws";

const { PORT } = process.env;
const rooms = new EventEmitter().setMaxListeners(0);
const server = createServer((_, response) => response.writeHead(404).end());

const kinds = {
  // The library checks the subprotocol, graphql-transport-ws.
  graphql() {
    const schema = buildSchema(`
      type Query { server: String }
      type Mutation { say(room: String!, text: String!): Boolean }
      type Subscription { said(room: String!): String }
    `);
    const roots = {
      query: { server: () => PORT },
      mutation: { say: ({ room, text }) => rooms.emit(room, text) },
      subscription: {
        async *said({ room }) {
          for await (const [said] of on(rooms, room)) yield { said };
        },
      },
    };
    useServer({ schema, roots }, new WebSocketServer({ server }));
  },

  async mqtt() {
    const broker = await Aedes.createBroker();
    const sockets = new WebSocketServer({ server, handleProtocols: (offered) => offered.has("mqtt") && "mqtt" });
    sockets.on("connection", (ws, request) => broker.handle(createWebSocketStream(ws), request));
  },

  // The hub protocol in JSON: https://github.com/dotnet/aspnetcore/blob/main/src/SignalR/docs/specs/HubProtocol.md
  signalr() {
    const END = "\x1e";
    const tokens = new Set();
    server.removeAllListeners("request").on("request", (request, response) => {
      if (request.method !== "POST" || !request.url.startsWith("/hub/negotiate?")) return response.writeHead(404).end();
      const token = randomUUID();
      tokens.add(token);
      const availableTransports = [{ transport: "WebSockets", transferFormats: ["Text"] }];
      response.end(JSON.stringify({ connectionId: token, connectionToken: token, negotiateVersion: 1, availableTransports }));
    });
    const sockets = new WebSocketServer({ noServer: true });
    server.on("upgrade", (request, socket, head) => {
      const { searchParams } = new URL(request.url, "http://hub");
      // Only who has negotiated with this server may come.
      if (!tokens.delete(searchParams.get("id"))) return socket.end("HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
      sockets.handleUpgrade(request, socket, head, (ws) => welcome(ws, searchParams.get("room")));
    });
    const welcome = (ws, room) => {
      const send = (message) => ws.send(JSON.stringify(message) + END);
      const said = (text) => send({ type: 1, target: "said", arguments: [text] });
      rooms.on(room, said);
      ws.on("close", () => rooms.off(room, said));
      ws.on("message", (frame) => {
        for (const text of `${frame}`.split(END).filter(Boolean)) {
          const message = JSON.parse(text);
          if (message.protocol) send({});
          if (message.target === "say") rooms.emit(room, ...message.arguments);
        }
      });
    };
  },
};

await kinds[process.argv[2]]();
server.listen(PORT, "127.0.0.1", () => console.log(`listening on ${PORT}`));
