//! The host's functions (proxy-wasm ABI 0.2.1), bytes in and `Result` out.
//!
//! Bound here and not taken from an SDK, because a panic resets every WebSocket of the worker: every status that is not
//! OK becomes a value, header values stay bytes, and nothing is indexed or unwrapped.
#![expect(
    unsafe_code,
    reason = "the ABI is made of raw pointers; this is the only module that holds them"
)]

mod pairs;
mod raw;

use core::ptr::null_mut;
use std::cell::Cell;

use clew_filter_config::metrics::Kind;

pub(crate) use pairs::Pairs;

/// A status of the host that is not OK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status(u32);

impl Status {
    const NOT_FOUND: Self = Self(1);
    const EMPTY: Self = Self(7);
    /// What is asked for cannot be done.
    pub(crate) const INTERNAL_FAILURE: Self = Self(10);
}

pub(crate) type Result<T> = core::result::Result<T, Status>;

/// Which bytes: the body of a direction, or what a callback was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Buffer {
    Request = 0,
    Response = 1,
    CallResponse = 4,
    PluginConfiguration = 7,
}

/// Which headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Map {
    Request = 0,
    Response = 2,
    CallResponse = 6,
}

/// A direction of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Direction {
    Request = 0,
    Response = 1,
}

/// Where a log line goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Level {
    Info = 2,
    Warn = 3,
}

fn check(status: u32) -> Result<()> {
    if status == 0 { Ok(()) } else { Err(Status(status)) }
}

thread_local! {
    /// Where the host may write its next answer, if it fits: [`peek`].
    static PLACE: Cell<(*mut u8, usize)> = const { Cell::new((null_mut(), 0)) };
}

fn place(at: *mut u8, size: usize) -> (*mut u8, usize) {
    PLACE
        .try_with(|place| place.replace((at, size)))
        .unwrap_or((null_mut(), 0))
}

/// Memory that the host writes an answer to. It comes back through [`take`].
pub(crate) fn allocate(size: usize) -> *mut u8 {
    if size == 0 {
        return null_mut();
    }
    let (at, room) = place(null_mut(), 0);
    if size <= room {
        return at;
    }
    match core::alloc::Layout::array::<u8>(size) {
        // SAFETY: the layout is not empty.
        Ok(layout) => unsafe { std::alloc::alloc(layout) },
        Err(_) => null_mut(),
    }
}

fn take(data: *mut u8, size: usize) -> Vec<u8> {
    if data.is_null() || size == 0 {
        return Vec::new();
    }
    // SAFETY: the host answers with memory that it got from `allocate` for exactly this size, and has written all of it.
    unsafe { Vec::from_raw_parts(data, size, size) }
}

/// Calls `f` with the two places for the answer, and takes the answer.
fn answer(f: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Result<Vec<u8>> {
    let (mut data, mut size) = (null_mut(), 0);
    let status = f(&raw mut data, &raw mut size);
    let bytes = take(data, size);
    check(status).map(|()| bytes)
}

fn optional(answer: Result<Vec<u8>>) -> Result<Option<Vec<u8>>> {
    match answer {
        Ok(bytes) => Ok(Some(bytes)),
        Err(Status::NOT_FOUND | Status::EMPTY) => Ok(None),
        Err(status) => Err(status),
    }
}

pub(crate) fn log(level: Level, line: &str) {
    // A line that cannot be written is lost: there is nowhere to say so.
    // SAFETY: the pointer and length are of a live slice.
    let _ = unsafe { raw::proxy_log(level as u32, line.as_ptr(), line.len()) };
}

/// Nanoseconds since the Unix epoch.
pub(crate) fn unix_ns() -> Result<u64> {
    let mut now = 0;
    // SAFETY: the place is a live local.
    check(unsafe { raw::proxy_get_current_time_nanoseconds(&raw mut now) }).map(|()| now)
}

/// Nanoseconds of a clock that nobody sets, from any moment; the same for all workers.
pub(crate) fn monotonic_ns() -> Result<u64> {
    const MONOTONIC: u32 = 1;
    let mut now = 0;
    // SAFETY: the place is a live local. As exact as it can be had.
    check(unsafe { raw::clock_time_get(MONOTONIC, 0, &raw mut now) }).map(|()| now)
}

/// Fills `bytes` from the host's random source.
pub(crate) fn random(bytes: &mut [u8]) -> Result<()> {
    // SAFETY: the pointer and length are of a live slice.
    check(unsafe { raw::random_get(bytes.as_mut_ptr(), bytes.len()) })
}

pub(crate) fn set_tick_period(ms: u32) -> Result<()> {
    // SAFETY: no pointers.
    check(unsafe { raw::proxy_set_tick_period_milliseconds(ms) })
}

/// Acts on another context than the one of the current callback.
pub(crate) fn set_effective_context(id: u32) -> Result<()> {
    // SAFETY: no pointers.
    check(unsafe { raw::proxy_set_effective_context(id) })
}

/// At most `len` bytes from `start`; fewer where the buffer ends.
pub(crate) fn buffer(which: Buffer, start: usize, len: usize) -> Result<Vec<u8>> {
    // SAFETY: the places are live locals of `answer`.
    answer(|data, size| unsafe { raw::proxy_get_buffer_bytes(which as u32, start, len, data, size) })
}

/// Copies a buffer's bytes from `start` on into `out`, and says how many: no allocation, for what is done with every
/// frame.
pub(crate) fn peek(which: Buffer, start: usize, out: &mut [u8]) -> usize {
    let (mut data, mut size) = (null_mut(), 0);
    place(out.as_mut_ptr(), out.len());
    // SAFETY: the places are live locals. The host asks for at most the size of `out`, so `allocate` hands it `out`.
    let status =
        unsafe { raw::proxy_get_buffer_bytes(which as u32, start, out.len(), &raw mut data, &raw mut size) };
    place(null_mut(), 0);
    if status == 0 && core::ptr::eq(data, out.as_mut_ptr()) {
        size.min(out.len())
    } else {
        0
    }
}

/// Puts `bytes` in the place of `len` bytes from `start`: (0, 0) prepends, (0, at least the size) replaces everything,
/// (at least the size, any) appends; Envoy knows no other.
pub(crate) fn set_buffer(which: Buffer, start: usize, len: usize, bytes: &[u8]) -> Result<()> {
    // SAFETY: the pointer and length are of a live slice.
    check(unsafe { raw::proxy_set_buffer_bytes(which as u32, start, len, bytes.as_ptr(), bytes.len()) })
}

/// All headers of a message.
pub(crate) fn headers(map: Map) -> Result<Pairs> {
    // SAFETY: the places are live locals of `answer`.
    answer(|data, size| unsafe { raw::proxy_get_header_map_pairs(map as u32, data, size) }).map(Pairs::new)
}

/// The first value of a header.
pub(crate) fn header(map: Map, name: &str) -> Result<Option<Vec<u8>>> {
    optional(answer(|data, size| {
        // SAFETY: the name is a live slice, the places are live locals of `answer`.
        unsafe { raw::proxy_get_header_map_value(map as u32, name.as_ptr(), name.len(), data, size) }
    }))
}

pub(crate) fn set_header(map: Map, name: &str, value: &[u8]) -> Result<()> {
    // SAFETY: the pointers and lengths are of live slices.
    check(unsafe {
        raw::proxy_replace_header_map_value(
            map as u32,
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        )
    })
}

pub(crate) fn add_header(map: Map, name: &str, value: &[u8]) -> Result<()> {
    // SAFETY: the pointers and lengths are of live slices.
    check(unsafe {
        raw::proxy_add_header_map_value(map as u32, name.as_ptr(), name.len(), value.as_ptr(), value.len())
    })
}

/// Every value of the name goes.
pub(crate) fn remove_header(map: Map, name: &str) -> Result<()> {
    // SAFETY: the pointer and length are of a live slice.
    check(unsafe { raw::proxy_remove_header_map_value(map as u32, name.as_ptr(), name.len()) })
}

/// A property of the stream; `path` is joined by NUL.
pub(crate) fn property(path: &[u8]) -> Result<Option<Vec<u8>>> {
    // SAFETY: the path is a live slice, the places are live locals of `answer`.
    optional(answer(|data, size| unsafe {
        raw::proxy_get_property(path.as_ptr(), path.len(), data, size)
    }))
}

/// Gives the stream a property of our own.
pub(crate) fn set_property(path: &[u8], value: &[u8]) -> Result<()> {
    // SAFETY: the pointers and lengths are of live slices.
    check(unsafe { raw::proxy_set_property(path.as_ptr(), path.len(), value.as_ptr(), value.len()) })
}

/// An entry of the process-wide table, with its number for [`set_shared`].
pub(crate) fn shared(key: &str) -> Result<Option<(Vec<u8>, u32)>> {
    let mut cas = 0;
    let bytes = optional(answer(|data, size| {
        // SAFETY: the key is a live slice, the places are live locals.
        unsafe { raw::proxy_get_shared_data(key.as_ptr(), key.len(), data, size, &raw mut cas) }
    }))?;
    Ok(bytes.map(|bytes| (bytes, cas)))
}

/// Writes an entry; with a number other than 0 only if the entry still has it, else it is an error.
pub(crate) fn set_shared(key: &str, bytes: &[u8], cas: u32) -> Result<()> {
    // SAFETY: the pointers and lengths are of live slices.
    check(unsafe { raw::proxy_set_shared_data(key.as_ptr(), key.len(), bytes.as_ptr(), bytes.len(), cas) })
}

/// The last context that registers a name is the one whose `on_queue_ready` is called.
pub(crate) fn register_queue(name: &str) -> Result<u32> {
    let mut id = 0;
    // SAFETY: the name is a live slice, the place a live local.
    check(unsafe { raw::proxy_register_shared_queue(name.as_ptr(), name.len(), &raw mut id) }).map(|()| id)
}

pub(crate) fn enqueue(queue: u32, bytes: &[u8]) -> Result<()> {
    // SAFETY: the pointer and length are of a live slice.
    check(unsafe { raw::proxy_enqueue_shared_queue(queue, bytes.as_ptr(), bytes.len()) })
}

pub(crate) fn dequeue(queue: u32) -> Result<Option<Vec<u8>>> {
    // SAFETY: the places are live locals of `answer`.
    optional(answer(|data, size| unsafe {
        raw::proxy_dequeue_shared_queue(queue, data, size)
    }))
}

/// Lets a paused direction of the effective context go on, once the current callback has returned.
pub(crate) fn continue_stream(direction: Direction) -> Result<()> {
    // SAFETY: no pointers.
    check(unsafe { raw::proxy_continue_stream(direction as u32) })
}

/// Answers the effective context's request; after the 101 it resets the stream, and `details` is what access logs show.
pub(crate) fn send_local_response(
    status: u16,
    details: &str,
    headers: &[(&[u8], &[u8])],
    body: &[u8],
) -> Result<()> {
    let headers = Pairs::write(headers);
    // SAFETY: the pointers and lengths are of live slices. -1: no gRPC status.
    check(unsafe {
        raw::proxy_send_local_response(
            u32::from(status),
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            -1,
        )
    })
}

/// Sends a request; the answer comes to `on_http_call_response` with the token returned here.
pub(crate) fn http_call(
    cluster: &str,
    headers: &[(&[u8], &[u8])],
    body: &[u8],
    timeout_ms: u32,
) -> Result<u32> {
    let headers = Pairs::write(headers);
    let trailers = Pairs::write(&[]);
    let mut token = 0;
    // SAFETY: the pointers and lengths are of live slices, the place is a live local.
    check(unsafe {
        raw::proxy_http_call(
            cluster.as_ptr(),
            cluster.len(),
            headers.as_ptr(),
            headers.len(),
            body.as_ptr(),
            body.len(),
            trailers.as_ptr(),
            trailers.len(),
            timeout_ms,
            &raw mut token,
        )
    })
    .map(|()| token)
}

/// Calls one of Envoy's own functions by name; its result is not wanted.
pub(crate) fn call_foreign(name: &str, argument: &[u8]) -> Result<()> {
    answer(|data, size| {
        // SAFETY: the name and argument are live slices, the places are live locals of `answer`.
        unsafe {
            raw::proxy_call_foreign_function(
                name.as_ptr(),
                name.len(),
                argument.as_ptr(),
                argument.len(),
                data,
                size,
            )
        }
    })
    .map(|_| ())
}

/// The same name gives the same metric in every VM.
pub(crate) fn define_metric(kind: Kind, name: &str) -> Result<u32> {
    let mut id = 0;
    // SAFETY: the name is a live slice, the place a live local.
    check(unsafe { raw::proxy_define_metric(kind as u32, name.as_ptr(), name.len(), &raw mut id) })
        .map(|()| id)
}

pub(crate) fn increment_metric(id: u32, by: i64) -> Result<()> {
    // SAFETY: no pointers.
    check(unsafe { raw::proxy_increment_metric(id, by) })
}

/// A histogram's sample.
pub(crate) fn record_metric(id: u32, value: u64) -> Result<()> {
    // SAFETY: no pointers.
    check(unsafe { raw::proxy_record_metric(id, value) })
}

impl From<clew_filter_core::session::Direction> for Direction {
    fn from(direction: clew_filter_core::session::Direction) -> Self {
        match direction {
            clew_filter_core::session::Direction::Request => Self::Request,
            clew_filter_core::session::Direction::Response => Self::Response,
        }
    }
}

impl From<clew_filter_core::session::Direction> for Buffer {
    fn from(direction: clew_filter_core::session::Direction) -> Self {
        match direction {
            clew_filter_core::session::Direction::Request => Self::Request,
            clew_filter_core::session::Direction::Response => Self::Response,
        }
    }
}
