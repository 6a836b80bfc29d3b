//! A direction's bytes, read piece by piece.

use crate::host::{self, Buffer};

/// A look into a buffer: one call of the host reads all of a short frame that is wanted piece by piece.
pub(super) struct Window {
    buffer: Buffer,
    bytes: [u8; Window::SIZE],
    start: usize,
    len: usize,
}

impl Window {
    const SIZE: usize = 32;

    pub(super) const fn new(buffer: Buffer) -> Self {
        Self {
            buffer,
            bytes: [0; Self::SIZE],
            start: 0,
            len: 0,
        }
    }

    /// Copies the buffer's bytes from `at` on into `out`, and says how many.
    pub(super) fn read(&mut self, at: usize, out: &mut [u8]) -> usize {
        if self.copy(at, out).is_none() {
            self.len = host::peek(self.buffer, at, &mut self.bytes);
            self.start = at;
            if self.copy(at, out).is_none() {
                return host::peek(self.buffer, at, out);
            }
        }
        out.len()
    }

    /// All of `out`, or nothing.
    fn copy(&self, at: usize, out: &mut [u8]) -> Option<()> {
        let known = self.bytes.get(..self.len)?;
        let wanted = known.get(at.checked_sub(self.start)?..)?.get(..out.len())?;
        out.copy_from_slice(wanted);
        Some(())
    }
}
