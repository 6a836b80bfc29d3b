//! What a tracker says of a stream.

use clew_filter_core::frame::{Event, Tracker};

/// An event and how many bytes of the stream came before it.
pub(crate) type Seen = (usize, Event);

/// Sends a stream through a tracker in the chunks that these lengths cut.
pub(crate) fn follow(stream: &[u8], cuts: impl IntoIterator<Item = usize>) -> (Tracker, Vec<Seen>) {
    let mut tracker = Tracker::new();
    let mut events = Vec::new();
    let mut begin = 0_usize;
    for cut in cuts.into_iter().chain([usize::MAX]) {
        let end = begin.saturating_add(cut).min(stream.len());
        let chunk = &stream[begin..end];
        tracker.advance(
            chunk.len(),
            |at, out| {
                out.copy_from_slice(&chunk[at..at + out.len()]);
                out.len()
            },
            |at, event| events.push((begin + at, event)),
        );
        let ends_at_boundary = match events.last() {
            None => end == 0,
            Some(&(at, event)) => event == Event::Boundary && at == end,
        };
        assert_eq!(tracker.at_boundary(), ends_at_boundary, "after {end} bytes");
        begin = end;
    }
    (tracker, events)
}
