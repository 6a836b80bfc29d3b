// One of several servers: Express with its sessions in Redis, and WebSockets for whoever is logged in.
import { RedisStore } from "connect-redis";
import express from "express";
import session from "express-session";
import { createServer, ServerResponse } from "node:http";
import { createClient } from "redis";
import { WebSocketServer } from "ws";

const { PORT, SESSION_SECONDS = 20, REDIS = "redis://127.0.0.1:6379" } = process.env;
const ENDED = 4401;
const redis = createClient({ url: REDIS });
redis.on("error", console.error);
await redis.connect();

const sessions = session({
  name: "sid",
  secret: process.env.SESSION_SECRET ?? "only for trying it",
  store: new RedisStore({ client: redis }),
  resave: false,
  saveUninitialized: false,
  cookie: { httpOnly: true, sameSite: "lax", maxAge: SESSION_SECONDS * 1000 },
});

const app = express();
app.use(sessions);
app.post("/login/:user", (request, response, next) => {
  // A new identity for whoever logs in, so that nobody can be given one beforehand.
  request.session.regenerate((error) => {
    if (error) return next(error);
    request.session.user = request.params.user;
    response.json({ user: request.params.user });
  });
});
app.post("/logout", (request, response, next) => {
  const id = request.sessionID;
  request.session.destroy(async (error) => {
    if (error) return next(error);
    // The sockets of the session may be on any server.
    await redis.publish("ended", id);
    response.sendStatus(204);
  });
});

const server = createServer(app);
const sockets = new WebSocketServer({ noServer: true });
server.on("upgrade", (request, socket, head) => {
  sessions(request, new ServerResponse(request), () => {
    if (!request.session?.user) return socket.end("HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    sockets.handleUpgrade(request, socket, head, (ws) => welcome(ws, request));
  });
});

function welcome(ws, { session, sessionID }) {
  ws.session = sessionID;
  const expiry = setTimeout(() => ws.close(ENDED, "expired"), session.cookie.maxAge);
  ws.on("close", () => clearTimeout(expiry));
  ws.on("message", (text) => ws.send(JSON.stringify({ user: session.user, said: `${text}`, server: PORT })));
}

const news = redis.duplicate();
news.on("error", console.error);
await news.connect();
await news.subscribe("ended", (id) => {
  for (const ws of sockets.clients) if (ws.session === id) ws.close(ENDED, "logged out");
});

server.listen(PORT, "127.0.0.1", () => console.log(`listening on ${PORT}`));
