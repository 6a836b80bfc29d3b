// What is between servers, in NATS: subjects for each room, and a stream of JetStream that keeps what is said there.
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { connect as connectTo, errors } from "@nats-io/transport-node";

/** How long a server waits for answers in all, and for another one after the last, in ms; and how long a message is known by its id, in ns. */
const PATIENCE = 1000, STALL = 30, KNOWN = 120e9;

export async function connect(servers, { keep, echo }) {
  const nats = await connectTo({ servers, noEcho: !echo });
  const streams = jetstream(nats);
  const manager = await jetstreamManager(nats);
  await manager.streams.add({ name: "SAID", subjects: ["rooms.*.said"], max_msgs_per_subject: keep, duplicate_window: KNOWN });
  await manager.streams.add({ name: "LEFT", subjects: ["rooms.*.left"], max_msgs_per_subject: 1 });
  const text = JSON.stringify;
  return {
    async follow(room, hear) {
      const callback = (_, message) => hear(message.json(), (answer) => message.respond(text(answer)));
      const subscriptions = ["said", "note"].map((what) => nats.subscribe(`rooms.${room}.${what}`, { callback }));
      await nats.flush();
      return () => subscriptions.forEach((one) => one.unsubscribe());
    },
    // What comes twice with one id is kept once.
    keep: (room, message) => streams.publish(`rooms.${room}.said`, text(message), { msgID: `${message.from}-${message.n}` }),
    async kept(room) {
      const consumer = await streams.consumers.get("SAID", { filter_subjects: `rooms.${room}.said` });
      const { num_pending: count } = await consumer.info();
      const messages = [];
      if (count === 0) return messages;
      for await (const message of await consumer.fetch({ max_messages: count, expires: PATIENCE })) messages.push(message.json());
      return messages;
    },
    tell: (room, note) => nats.publish(`rooms.${room}.note`, text(note)),
    async ask(room, note) {
      const answers = [];
      try {
        for await (const answer of await nats.requestMany(`rooms.${room}.note`, text(note), { strategy: "stall", stall: STALL, maxWait: PATIENCE }))
          answers.push(answer.json());
      } catch (error) {
        if (!(error instanceof errors.NoRespondersError)) throw error;
      }
      return answers;
    },
    leave: (room, said) => streams.publish(`rooms.${room}.left`, text(said)),
    async left(room) {
      const last = await manager.streams.getMessage("LEFT", { last_by_subj: `rooms.${room}.left` });
      if (last) await manager.streams.deleteMessage("LEFT", last.seq);
      return last?.json() ?? [];
    },
    end: () => nats.drain(),
  };
}
