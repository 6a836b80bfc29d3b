//! The recipes of the guide: their pages are followed to the letter, with real servers, real clients and real stores, and every message is counted.

#![expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]

mod collaborative_editing;
mod mesh_tools;
mod rooms;
mod session_store;
mod socket_io;
mod subprotocols;
