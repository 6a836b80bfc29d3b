//! An object as it is kept: as JSON, compressed. Of thousands of objects a turn needs a few, and most of what they say they
//! all say.

use std::marker::PhantomData;
use std::sync::Arc;

use lz4_flex::block::{compress_prepend_size_with_dict, decompress_size_prepended_with_dict};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What objects say alike.
const DICTIONARY: &[u8] = include_bytes!("packed/dictionary.jsonl");

/// A `T`. Equal ones were made of equal ones; the converse holds where `T` gives equal JSON for equal values.
#[derive(Debug)]
pub(crate) struct Packed<T> {
    bytes: Arc<[u8]>,
    of: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> Packed<T> {
    /// # Errors
    /// When it has no JSON.
    pub(crate) fn new(value: &T) -> serde_json::Result<Self> {
        Ok(Self::of_text(&serde_json::to_vec(value)?))
    }

    /// What it was made of. None: of something whose JSON does not say what it is.
    pub(crate) fn open(&self) -> Option<T> {
        let text = decompress_size_prepended_with_dict(&self.bytes, DICTIONARY).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

impl Packed<Value> {
    /// Any JSON.
    pub(crate) fn of(value: &Value) -> Self {
        Self::of_text(value.to_string().as_bytes())
    }

    /// What it was made of.
    pub(crate) fn value(&self) -> Value {
        self.open().unwrap_or_default()
    }
}

impl<T> Packed<T> {
    fn of_text(text: &[u8]) -> Self {
        Self {
            bytes: compress_prepend_size_with_dict(text, DICTIONARY).into(),
            of: PhantomData,
        }
    }

    /// Beside what was made just before in memory, unless others have it too.
    pub(crate) fn tighten(&mut self) {
        if Arc::strong_count(&self.bytes) == 1 {
            self.bytes = Arc::from(&*self.bytes);
        }
    }

    /// Whether both are one, which says that they are equal without a look.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.bytes, &other.bytes)
    }
}

impl<T> Clone for Packed<T> {
    fn clone(&self) -> Self {
        Self {
            bytes: self.bytes.clone(),
            of: PhantomData,
        }
    }
}

impl<T> PartialEq for Packed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.is(other) || self.bytes == other.bytes
    }
}

impl<T> Eq for Packed<T> {}

#[cfg(test)]
mod tests {
    use super::{DICTIONARY, Packed};
    use serde_json::{Value, json};

    fn examples() -> impl Iterator<Item = Value> {
        let lines = DICTIONARY
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).unwrap())
    }

    #[test]
    fn what_is_packed_is_there_again_and_equal_only_to_what_is_the_same() {
        for object in examples().chain([json!(null), json!("x".repeat(1 << 20))]) {
            let packed = Packed::new(&object).unwrap();
            assert_eq!(packed.open().unwrap(), object);
            assert_eq!(packed, Packed::new(&object).unwrap());
            assert!(!packed.is(&Packed::new(&object).unwrap()) && packed.is(&packed.clone()));
            assert_ne!(packed, Packed::new(&json!([object])).unwrap());
        }
    }

    #[test]
    fn what_objects_say_alike_takes_no_room() {
        for object in examples() {
            let text = object
                .to_string()
                .replace("shop", "another")
                .replace("chat", "thing");
            let object: Value = serde_json::from_str(&text).unwrap();
            let packed = Packed::new(&object).unwrap().bytes.len();
            assert!(
                packed * 5 < text.len() * 2,
                "{packed} of {} bytes: {text}",
                text.len()
            );
        }
    }
}
