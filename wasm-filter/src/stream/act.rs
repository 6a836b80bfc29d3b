//! Carries out what the core answers.

use clew_filter_config::rule::DrainPolicy;
use clew_filter_core::frame::{CloseFrame, encode_close};
use clew_filter_core::handshake::Random;
use clew_filter_core::session::{Action, Direction};

use crate::host::{self, Buffer};
use crate::vm::Dice;

/// What access logs show of a stream that a drain's deadline reset.
const RESET_DETAILS: &str = "clew_drain_deadline";

/// Carries out what a tick asks for, on the effective context.
pub(crate) fn act(action: Action, policy: &DrainPolicy, dice: &mut Dice) -> host::Result<()> {
    match action {
        Action::Write(direction) => {
            host::set_buffer(direction.into(), 0, 0, close(direction, policy, dice).as_ref())?;
            host::continue_stream(direction.into())
        }
        Action::Ping => {
            let [a, b, c, d] = mask(dice);
            host::set_buffer(Buffer::Request, 0, 0, &[0x89, 0x80, a, b, c, d])?;
            host::continue_stream(host::Direction::Request)
        }
        Action::Reset => host::send_local_response(503, RESET_DETAILS, &[], b""),
        Action::Pass | Action::Arm | Action::Close { .. } | Action::Drop => Ok(()),
    }
}

/// The first `keep` bytes of a buffer and our Close, and nothing else.
pub(super) fn cut(
    direction: Direction,
    len: usize,
    keep: usize,
    policy: &DrainPolicy,
    dice: &mut Dice,
) -> host::Result<()> {
    let close = close(direction, policy, dice);
    let buffer = Buffer::from(direction);
    if keep == len {
        return host::set_buffer(buffer, len, 0, close.as_ref());
    }
    let mut bytes = if keep == 0 {
        Vec::new()
    } else {
        host::buffer(buffer, 0, keep)?
    };
    bytes.extend_from_slice(close.as_ref());
    host::set_buffer(buffer, 0, len, &bytes)
}

/// Our Close, as the receiver of a direction takes it.
fn close(direction: Direction, policy: &DrainPolicy, dice: &mut Dice) -> CloseFrame {
    let mask = match direction {
        Direction::Request => Some(mask(dice)),
        Direction::Response => None,
    };
    encode_close(policy.close_code, &policy.close_reason, mask)
}

fn mask(dice: &mut Dice) -> [u8; 4] {
    let [a, b, c, d, ..] = dice.draw().to_le_bytes();
    [a, b, c, d]
}
