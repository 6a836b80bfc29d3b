//! The ABI's list of headers: count, then the sizes of each name and value (u32, little endian), then each name and value
//! with a NUL behind.

/// A list of headers as the host wrote it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pairs(Vec<u8>);

impl Pairs {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Name and value in the order of the message. A malformed list ends early.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let count = word(&self.0, 0).unwrap_or(0);
        let mut at = count
            .checked_mul(8)
            .and_then(|sizes| sizes.checked_add(4))
            .unwrap_or(usize::MAX);
        (0..count).map_while(move |i| {
            let sizes = i.checked_mul(8)?.checked_add(4)?;
            let name = cut(&self.0, &mut at, word(&self.0, sizes)?)?;
            let value = cut(&self.0, &mut at, word(&self.0, sizes.checked_add(4)?)?)?;
            Some((name, value))
        })
    }

    /// The first value of a name (lowercase).
    pub(crate) fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.iter().find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    pub(super) fn write(pairs: &[(&[u8], &[u8])]) -> Vec<u8> {
        let size = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
        let mut out = Vec::new();
        out.extend(u32::try_from(pairs.len()).unwrap_or(u32::MAX).to_le_bytes());
        for (name, value) in pairs {
            out.extend(size(name));
            out.extend(size(value));
        }
        for (name, value) in pairs {
            out.extend_from_slice(name);
            out.push(0);
            out.extend_from_slice(value);
            out.push(0);
        }
        out
    }
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    let word = bytes.get(at..)?.first_chunk::<4>()?;
    usize::try_from(u32::from_le_bytes(*word)).ok()
}

fn cut<'a>(bytes: &'a [u8], at: &mut usize, size: usize) -> Option<&'a [u8]> {
    let end = at.checked_add(size)?;
    let part = bytes.get(*at..end)?;
    *at = end.checked_add(1)?;
    Some(part)
}
