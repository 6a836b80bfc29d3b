// `node check.js HOST:PORT COMMAND…`: three people write in each of six documents while the command runs, and then the documents are compared.
import { HocuspocusProvider, HocuspocusProviderWebsocket } from "@hocuspocus/provider";
import { spawn } from "node:child_process";
import { WebSocket } from "ws";
import * as Y from "yjs";

const [host, command, ...rest] = process.argv.slice(2);
const DOCUMENTS = 6, EDITORS = ["a", "b", "c"], PATIENCE = 30_000;
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const until = async (condition) => {
  for (const end = Date.now() + PATIENCE; !condition() && Date.now() < end; ) await pause(50);
};
const closes = { 1012: 0, other: 0 };
let isOver = false;

function edit(document, letter) {
  const editor = { document, letter, typed: 0, text: new Y.Doc() };
  class Socket extends WebSocket {
    constructor(...given) {
      super(...given);
      this.on("upgrade", (response) => (editor.server = response.headers["x-server"]));
      this.on("close", (code) => (isOver ? null : closes[code in closes ? code : "other"]++));
    }
  }
  const websocketProvider = new HocuspocusProviderWebsocket({ url: `ws://${host}/documents/${document}`, WebSocketPolyfill: Socket, minDelay: 200, delay: 200, maxDelay: 1000 });
  editor.provider = new HocuspocusProvider({ websocketProvider, name: document, document: editor.text });
  editor.provider.attach();
  editor.read = () => editor.text.getText("text").toString();
  editor.type = () => {
    editor.text.getText("text").insert(Math.floor(Math.random() * (editor.read().length + 1)), letter);
    editor.typed++;
  };
  return editor;
}

const run = Date.now().toString(36);
const names = Array.from({ length: DOCUMENTS }, (_, index) => `${run}-${index}`);
const editors = names.flatMap((name) => EDITORS.map((letter) => edit(name, letter)));
const of = (name) => editors.filter(({ document }) => document === name);
await until(() => editors.every(({ provider }) => provider.isSynced));
const scattered = names.filter((name) => new Set(of(name).map(({ server }) => server)).size > 1).length;

const child = spawn(command, rest, { stdio: ["ignore", 2, 2] });
let isRunning = true;
child.on("exit", () => (isRunning = false));
while (isRunning) {
  for (const { type } of editors) type();
  await pause(50);
}
const differ = () => names.filter((name) => new Set(of(name).map(({ read }) => read())).size > 1);
const typed = editors.reduce((sum, { typed }) => sum + typed, 0);
await until(() => differ().length === 0 && editors.every(({ provider }) => provider.isSynced && !provider.hasUnsyncedChanges));

let lost = 0, doubled = 0;
for (const { document, letter, typed } of editors) {
  for (const { read } of of(document)) {
    const found = read().split(letter).length - 1;
    lost += Math.max(0, typed - found);
    doubled += Math.max(0, found - typed);
  }
}
const figures = {
  documents: DOCUMENTS, "documents on several servers": scattered, typed, lost, doubled, "documents that differ": differ().length,
  "sockets closed with 1012": closes[1012], "sockets ended otherwise": closes.other,
};
for (const [name, figure] of Object.entries(figures)) console.log(`${name}: ${figure}`);
isOver = true;
process.exit();
