// One of several Socket.IO servers. It knows nothing of Clew: Redis carries what is said from server to server.
import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-streams-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";

const redis = createClient({ url: process.env.REDIS ?? "redis://127.0.0.1:6379" });
redis.on("error", console.error);
await redis.connect();
const KEEP = { TRIM: { strategy: "MAXLEN", strategyModifier: "~", threshold: 10_000 } };

const http = createServer();
const io = new Server(http, {
  adapter: createAdapter(redis),
  connectionStateRecovery: { maxDisconnectionDuration: 120_000 },
});

io.on("connection", async (socket) => {
  const { user, room } = socket.handshake.query;
  // A client that is not sure says it again, so a message has a number, and each number is passed on once.
  socket.on("say", async (number, to, done) => {
    const isNew = await redis.set(`said:${user}:${number}`, 1, { condition: "NX", expiration: { type: "EX", value: 3600 } });
    if (isNew) {
      await redis.xAdd(to === "everyone" ? "log" : `log:${room}`, "*", { user, number: `${number}` }, KEEP);
      (to === "everyone" ? io : io.to(room)).emit("said", user, number);
    }
    done();
  });
  if (!socket.recovered) {
    await socket.join(room);
    // Recovery begins where the last broadcast ended, so everybody gets one.
    io.to(socket.id).emit("welcome");
  }
  socket.emit("missed", await missed(room, socket.handshake.auth.offset));
});

// Recovery has two holes: what is said between its reading of the stream and the socket's joining of its rooms, and what another
// server's broadcast overtook. So whoever comes back gets the last of the log too, from somewhat earlier, and leaves out what they have.
async function missed(room, offset) {
  if (!offset) return [];
  const from = `${Math.max(0, parseInt(offset) - 10_000)}`;
  const logs = await Promise.all(["log", `log:${room}`].map((log) => redis.xRange(log, from, "+")));
  const entries = logs.flat().sort((a, b) => parseInt(a.id) - parseInt(b.id));
  return entries.map(({ message }) => [message.user, Number(message.number)]);
}

http.listen(process.env.PORT, "127.0.0.1", () => console.log(`listening on ${process.env.PORT}`));
