// What is between servers, in Redis: a stream and a channel for each room.
import { createClient } from "redis";

/** Keeps a message once, however often it comes, and tells everybody in the order in which it was kept. */
const keepOnce = (keep) => `
  if tonumber(ARGV[2]) <= tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or -1) then return 0 end
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ${keep}, '*', 'said', ARGV[3])
  return redis.call('PUBLISH', KEYS[3], ARGV[3])`;
/** How long a server waits for another's answer, and how long Redis has what a server left, in seconds. */
const PATIENCE = 1000, LEFT = 3600;

export async function connect(url, { id, keep }) {
  const redis = await createClient({ url }).on("error", console.error).connect();
  const follower = await redis.duplicate().on("error", console.error).connect();
  const script = await redis.scriptLoad(keepOnce(keep));
  const keys = (room) => [`heads:${room}`, `said:${room}`, `room:${room}`];
  const tell = (channel, note) => redis.publish(channel, JSON.stringify(note));
  const asking = new Map();
  await follower.subscribe(`server:${id}`, (text) => {
    const { room, ...answer } = JSON.parse(text);
    asking.get(room)?.(answer);
  });
  return {
    async follow(room, hear) {
      const listener = (text) => {
        const { by, ...note } = JSON.parse(text);
        if (by !== id) hear(note, (answer) => tell(`server:${by}`, { room, ...answer }));
      };
      await follower.subscribe(`room:${room}`, listener);
      return () => follower.unsubscribe(`room:${room}`, listener);
    },
    keep: (room, message) => redis.evalSha(script, { keys: keys(room), arguments: [message.from, `${message.n}`, JSON.stringify(message)] }),
    kept: async (room) => (await redis.xRange(`said:${room}`, "-", "+")).map((entry) => JSON.parse(entry.message.said)),
    tell: (room, note) => tell(`room:${room}`, { ...note, by: id }),
    ask(room, note) {
      return new Promise(async (done) => {
        const answers = [];
        let wanted;
        const finish = () => {
          asking.delete(room);
          clearTimeout(late);
          done(answers);
        };
        const late = setTimeout(finish, PATIENCE);
        asking.set(room, (answer) => answers.push(answer) === wanted && finish());
        // One of those who hear it is this server.
        wanted = (await tell(`room:${room}`, { ...note, by: id })) - 1;
        if (answers.length >= wanted) finish();
      });
    },
    leave: (room, said) => redis.set(`left:${room}`, JSON.stringify(said), { expiration: { type: "EX", value: LEFT } }),
    left: async (room) => JSON.parse((await redis.getDel(`left:${room}`)) ?? "[]"),
    end: () => Promise.all([redis.close(), follower.close()]),
  };
}
