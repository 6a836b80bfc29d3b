//! Carries out what the core answers.

use clew_filter_config::rule::DrainPolicy;
use clew_filter_core::frame::{CloseFrame, encode_close};
use clew_filter_core::handshake::Random;
use clew_filter_core::session::{Action, Cause, Direction};

use crate::host::{self, Buffer};
use crate::vm::Dice;

/// What access logs show of a stream that was reset.
const fn details(cause: Option<Cause>) -> &'static str {
    match cause {
        Some(Cause::Drain) => "clew_drain_deadline",
        Some(Cause::Idle) => "clew_idle_timeout",
        Some(Cause::Duration) => "clew_max_connection_duration",
        Some(Cause::TokenExpired) => "clew_token_expired",
        Some(Cause::MessageSize) => "clew_message_size",
        Some(Cause::MessageRate) => "clew_message_rate",
        Some(Cause::Protocol) => "clew_protocol_error",
        None => "clew_close_unanswered",
    }
}

/// Carries out what a tick asks for, on the effective context. `drain`: what our Close says to those who leave a pod.
pub(crate) fn act(action: Action, drain: &DrainPolicy, dice: &mut Dice) -> host::Result<()> {
    match action {
        Action::Write(direction, cause) => {
            let close = close(direction, cause, drain, dice);
            append(direction, close.as_ref())
        }
        Action::Ping => {
            let [a, b, c, d] = mask(dice);
            append(Direction::Request, &[0x89, 0x80, a, b, c, d])
        }
        Action::Reset(cause) => host::send_local_response(503, details(cause), &[], b""),
        Action::Pass
        | Action::Arm
        | Action::StayArmed
        | Action::KeepBack { .. }
        | Action::Close { .. }
        | Action::Drop => Ok(()),
    }
}

/// Writes into a direction that is armed. Envoy lets a direction go on only when the module has returned: what waits in it
/// is still there where that was asked for a moment ago, and goes first.
fn append(direction: Direction, bytes: &[u8]) -> host::Result<()> {
    host::set_buffer(direction.into(), usize::MAX, 0, bytes)?;
    host::continue_stream(direction.into())
}

/// The first `keep` bytes of a buffer and these, and nothing else.
pub(super) fn cut(buffer: Buffer, len: usize, keep: usize, follows: &[u8]) -> host::Result<()> {
    if keep == len {
        return host::set_buffer(buffer, len, 0, follows);
    }
    let mut bytes = if keep == 0 {
        Vec::new()
    } else {
        host::buffer(buffer, 0, keep)?
    };
    bytes.extend_from_slice(follows);
    host::set_buffer(buffer, 0, len, &bytes)
}

/// Our Close, as the receiver of a direction takes it.
pub(super) fn close(direction: Direction, cause: Cause, drain: &DrainPolicy, dice: &mut Dice) -> CloseFrame {
    let mask = match direction {
        Direction::Request => Some(mask(dice)),
        Direction::Response => None,
    };
    let (code, reason) = cause.says(drain);
    encode_close(code, reason, mask)
}

fn mask(dice: &mut Dice) -> [u8; 4] {
    let [a, b, c, d, ..] = dice.draw().to_le_bytes();
    [a, b, c, d]
}
