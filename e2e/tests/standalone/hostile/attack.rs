//! Hostile inputs of many kinds, each made from its number.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use data_encoding::BASE64URL_NOPAD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long an attack may listen for more.
const BRIEF: Duration = Duration::from_millis(300);

/// Numbers from a number (SplitMix64).
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn bytes(&mut self, len: usize, low: u8) -> Vec<u8> {
        (0..len).map(|_| (self.next() as u8).max(low)).collect()
    }

    fn of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }
}

/// How a client leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaves {
    /// By a FIN, after it has listened for a moment.
    Fin,
    /// By a reset.
    Reset,
    /// Not before all attacks are over.
    Stays,
}

/// What a client sends.
struct Attack {
    request: Vec<u8>,
    /// After the 101 was seen.
    then: Vec<u8>,
    leaves: Leaves,
}

const UPGRADE: &str = "Host: chat.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn request(target: &str, more: &[u8]) -> Vec<u8> {
    [
        format!("GET {target} HTTP/1.1\r\n{UPGRADE}").as_bytes(),
        more,
        b"\r\n",
    ]
    .concat()
}

fn header(name: &str, value: &[u8]) -> Vec<u8> {
    [name.as_bytes(), b": ", value, b"\r\n"].concat()
}

/// A frame with any first byte; `len` is what it says, not what it has.
fn frame(first: u8, mask: bool, len: u64, payload: &[u8]) -> Vec<u8> {
    let bit = if mask { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match len {
        0..126 => bytes.push(bit | len as u8),
        126..0x1_0000 => {
            bytes.push(bit | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
        _ => {
            bytes.push(bit | 127);
            bytes.extend(len.to_be_bytes());
        }
    }
    if mask {
        bytes.extend([0; 4]);
    }
    bytes.extend(payload);
    bytes
}

/// Frames as no peer should send them.
fn bad_frames(kind: usize, mask: bool, dice: &mut Dice) -> Vec<u8> {
    let small = dice.below(126);
    match kind % 8 {
        // Reserved bits and opcodes, every first byte in turn.
        0 => {
            let payload = dice.bytes(small, 0);
            frame(dice.next() as u8, mask, small as u64, &payload)
        }
        // Lengths up to 2^64 - 1, and hardly any payload.
        1 => {
            let len = [u64::MAX, 1 << 63, (1 << 63) - 1, 1 << 32, 0x1_0000][dice.below(5)];
            frame(0x82, mask, len, &[0; 100])
        }
        2 => frame(0x81, !mask, small as u64, &dice.bytes(small, 0)),
        // Control frames that are fragmented, or too long.
        3 => frame(
            [0x08, 0x09, 0x0A][dice.below(3)],
            mask,
            small as u64,
            &vec![0; small],
        ),
        4 => frame([0x88, 0x89, 0x8A][dice.below(3)], mask, 1000, &[0; 1000]),
        // A Close of any size, with any code.
        5 => {
            let len = dice.below(132);
            [
                frame(0x88, mask, len as u64, &dice.bytes(len, 0)),
                frame(0x81, mask, 1, b"x"),
            ]
            .concat()
        }
        // Floods of what is smallest.
        6 => frame([0x89, 0x80, 0x01, 0x82, 0x00][dice.below(5)], mask, 0, b"").repeat(4000),
        _ => {
            let len = 200 + dice.below(4000);
            dice.bytes(len, 0)
        }
    }
}

impl Attack {
    const KINDS: usize = 20;

    fn new(number: usize, gentle: bool) -> Self {
        let mut dice = Dice(number as u64);
        let mut attack = Self {
            request: request(&format!("/all?n={number}"), b""),
            then: Vec::new(),
            leaves: if number.is_multiple_of(3) {
                Leaves::Reset
            } else {
                Leaves::Fin
            },
        };
        if gentle {
            return attack;
        }
        let turn = number / Self::KINDS;
        match number % Self::KINDS {
            0 => {
                let name = dice.of(&super::HEADERS).to_owned();
                let len = 1 + dice.below(300);
                attack.request = request("/all", &header(&name, &dice.bytes(len, 0x80)));
            }
            1 => attack.request = request("/all", &header("cookie", &vec![b'k'; dice.below(64 << 10)])),
            2 => {
                let junk = ["%", "%zz", "&&=", "room", "room=%F", "%00", "//", "?"];
                let target: String = (0..dice.below(3000)).map(|_| dice.of(&junk)).collect();
                attack.request = request(&format!("/all?{target}"), b"");
            }
            3 => {
                let many: Vec<u8> = (0..dice.below(3000))
                    .flat_map(|i| header(&format!("x-{i}"), b"1"))
                    .collect();
                attack.request = request("/all", &many);
            }
            4 => {
                let deep = ["[", "{\"sub\":", "\"", "{\"sub\":1e999", "{\"sub\":\"\\ud800"][dice.below(5)];
                let claims = deep.repeat(1 + dice.below(4000));
                let token = format!(
                    "Bearer e30.{}.{}",
                    BASE64URL_NOPAD.encode(claims.as_bytes()),
                    dice.of(&["", "s", "=", "!"])
                );
                attack.request = request("/all", &header("authorization", token.as_bytes()));
            }
            5 => {
                let name = dice.of(&[
                    "sec-websocket-key",
                    "sec-websocket-version",
                    "sec-websocket-extensions",
                    "sec-websocket-protocol",
                    "upgrade",
                    "connection",
                ]);
                let len = dice.below(500);
                let value = [
                    dice.of(&["", "13", ",,,;=", "permessage-deflate; a=", "close", "h2c"])
                        .as_bytes(),
                    &dice.bytes(len, 0x20),
                ]
                .concat();
                let value: Vec<u8> = value.into_iter().filter(|byte| *byte != 0x7F).collect();
                attack.request = request("/all", &header(name, &value));
            }
            6 => {
                let origin = dice.of(&[
                    "null",
                    "https://",
                    "://x",
                    "https://[::1",
                    "https://a..b:99999",
                    "file:///",
                    "https://\u{e9}.example",
                ]);
                let twice = [
                    header("origin", origin.as_bytes()),
                    header("origin", b"https://x"),
                ]
                .concat();
                attack.request = request("/all", &twice);
            }
            7 => {
                // Of the layout of a token, up to its tag; or of none.
                let mut token = vec![1];
                token.extend((0..dice.below(3000)).map(|_| dice.below(256) as u8));
                let text = match turn % 2 {
                    0 => BASE64URL_NOPAD.encode(&token),
                    _ => "v1.".repeat(token.len() / 3),
                };
                let cookie = format!("clew-session={text}");
                attack.request = request("/all", &header("cookie", cookie.as_bytes()));
            }
            8..12 => attack.then = bad_frames(turn, true, &mut dice),
            // Nothing more comes, and nothing is read.
            12 => attack.leaves = Leaves::Stays,
            // A reset at every stage.
            13 => {
                attack.leaves = Leaves::Reset;
                let cut = dice.below(attack.request.len());
                attack.request.truncate(cut);
            }
            // A head, or a frame, that never ends.
            14 => {
                attack.leaves = Leaves::Stays;
                if turn.is_multiple_of(2) {
                    attack.request.truncate(attack.request.len() - 2);
                } else {
                    attack.then = vec![0x82, 0xFF, 0, 0];
                }
            }
            15 => attack.request.extend(request("/ws?room=smuggled", b"")),
            16 => attack.request.extend(bad_frames(turn, true, &mut dice)),
            17 => {
                let status = dice.of(&["200", "403", "500", "302"]);
                attack.request = request(&format!("/all?status={status}"), b"content-length: 5\r\n");
                attack.request.extend(b"hello");
            }
            18 => {
                let shape = dice.of(&[
                    "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
                    "Content-Length: 5\r\nContent-Length: 6\r\n",
                    "Content-Length: -1\r\n",
                    "Host: other\r\nHost: third\r\n",
                    "X-A: b\r\n folded\r\n",
                    "Transfer-Encoding : chunked\r\n",
                ]);
                attack.request = request("/all", shape.as_bytes());
                attack
                    .request
                    .extend(b"0\r\n\r\nGET /ws?room=smuggled HTTP/1.1\r\nHost: x\r\n\r\n");
            }
            _ => {
                let len = dice.below(2000);
                attack.request = dice.bytes(len, 0);
            }
        }
        attack
    }

    /// Whether there was a 101, and the socket if it stays.
    async fn run(self, gateway: SocketAddr) -> Result<(bool, Option<TcpStream>)> {
        let mut io = TcpStream::connect(gateway).await?;
        // Whatever the proxy does to such a client is right, a reset too.
        let opened = self.talk(&mut io).await.unwrap_or(false);
        if self.leaves == Leaves::Reset {
            io.set_zero_linger()?;
        }
        Ok((opened, (self.leaves == Leaves::Stays).then_some(io)))
    }

    async fn talk(&self, io: &mut TcpStream) -> Result<bool> {
        io.write_all(&self.request).await?;
        let mut answer = [0; 16];
        let opened = timeout(BRIEF, io.read(&mut answer))
            .await
            .is_ok_and(|read| read.is_ok_and(|n| answer[..n].starts_with(b"HTTP/1.1 101")));
        if opened && !self.then.is_empty() {
            timeout(BRIEF, io.write_all(&self.then)).await.ok();
        }
        if self.leaves == Leaves::Fin {
            io.shutdown().await?;
            let mut rest = vec![0; 4096];
            let drain = async { while io.read(&mut rest).await.is_ok_and(|n| n > 0) {} };
            timeout(BRIEF, drain).await.ok();
        }
        Ok(opened)
    }
}

/// One hostile client; `behind`: a polite one, whose server is hostile.
pub(crate) async fn run(
    gateway: SocketAddr,
    number: usize,
    behind: bool,
) -> Result<(bool, Option<TcpStream>)> {
    let mut attack = Attack::new(number, behind);
    if behind {
        attack.request = request(&format!("/evil?n={number}"), b"");
        attack.then = frame(0x82, true, 20, &[0; 20]);
        attack.leaves = Leaves::Fin;
    }
    attack.run(gateway).await
}

/// A server that answers each upgrade as none should. Stopped when dropped.
pub(crate) struct HostileServer {
    pub(crate) address: SocketAddr,
    reached: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for HostileServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl HostileServer {
    pub(crate) async fn start(address: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let reached = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&reached);
        let task = tokio::spawn(async move {
            while let Ok((mut io, _)) = listener.accept().await {
                let number = count.fetch_add(1, Ordering::Relaxed);
                let answer = answer(number);
                tokio::spawn(async move {
                    let mut head = vec![0; 8192];
                    if io.read(&mut head).await? == 0 {
                        return Ok(());
                    }
                    io.write_all(&answer).await?;
                    if number.is_multiple_of(2) {
                        io.set_zero_linger()?;
                    } else {
                        while timeout(BRIEF, io.read(&mut head))
                            .await
                            .is_ok_and(|n| n.is_ok_and(|n| n > 0))
                        {}
                    }
                    Ok::<_, std::io::Error>(())
                });
            }
        });
        Ok(Self {
            address,
            reached,
            task,
        })
    }

    /// How often somebody connected.
    pub(crate) fn reached(&self) -> usize {
        self.reached.load(Ordering::Relaxed)
    }
}

fn answer(number: usize) -> Vec<u8> {
    let mut dice = Dice(!number as u64);
    let switching = |more: &[u8]| {
        let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
        [head.as_bytes(), more, b"\r\n"].concat()
    };
    match number % 12 {
        0..6 => [
            switching(b""),
            bad_frames(number / 12, number.is_multiple_of(5), &mut dice),
        ]
        .concat(),
        6 => switching(&header(
            dice.of(&["x-clew-host", "set-cookie", "x-clew-reason"]),
            &dice.bytes(200, 0x80),
        )),
        7 => switching(
            &(0..dice.below(300))
                .flat_map(|i| header(&format!("x-{i}"), b"1"))
                .collect::<Vec<_>>(),
        ),
        8 => b"HTTP/1.1 101 Switching Protocols\r\n\r\n".to_vec(),
        9 => [
            b"HTTP/1.1 200 OK\r\ncontent-length: 300000\r\n\r\n".as_slice(),
            &[b'x'; 200_000],
        ]
        .concat(),
        10 => b"HTTP/1.1 101 Swit".to_vec(),
        _ => dice.bytes(500, 0),
    }
}
