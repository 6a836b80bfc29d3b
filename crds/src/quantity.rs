use std::{fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A number of bytes as Kubernetes writes it: a whole number of at most nine digits, alone or with a suffix `k`, `M`, `G` (powers of 1,000)
/// or `Ki`, `Mi`, `Gi` (powers of 1,024). A plain integer is taken as well. Always printed as a string, in its shortest binary form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity {
    bytes: u64,
}

/// The text is not a quantity of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidQuantity(String);

impl Quantity {
    /// The subset of the Kubernetes quantity that makes sense for bytes: positive, whole, at most nine digits.
    pub const PATTERN: &str = "^[1-9][0-9]{0,8}(k|M|G|Ki|Mi|Gi)?$";

    const SUFFIXES: [(&str, u64); 7] = [
        ("", 1),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
    ];

    /// So many bytes.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        Self { bytes }
    }

    /// The quantity in bytes.
    #[must_use]
    pub const fn as_bytes(self) -> u64 {
        self.bytes
    }
}

impl FromStr for Quantity {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidQuantity(text.to_owned());
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, suffix) = text.split_at(digits);
        if !(1..=9).contains(&digits) || number.starts_with('0') {
            return Err(invalid());
        }
        let (_, factor) = Self::SUFFIXES
            .iter()
            .find(|(name, _)| *name == suffix)
            .ok_or_else(invalid)?;
        // Nine digits of Gi are about 10^18, within u64.
        Ok(Self {
            bytes: number.parse::<u64>().map_err(|_| invalid())? * factor,
        })
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (suffix, factor) in [("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)] {
            if self.bytes > 0 && self.bytes.is_multiple_of(factor) {
                return write!(f, "{}{suffix}", self.bytes / factor);
            }
        }
        write!(f, "{}", self.bytes)
    }
}

impl fmt::Display for InvalidQuantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not a number of bytes; write it like 65536, 64Ki or 1Mi",
            self.0
        )
    }
}

impl std::error::Error for InvalidQuantity {}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IntOrString;

        impl de::Visitor<'_> for IntOrString {
            type Value = Quantity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of bytes such as 65536, 64Ki or 1Mi")
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Quantity, E> {
                Ok(Quantity { bytes })
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Quantity, E> {
                u64::try_from(bytes)
                    .map(Quantity::from_bytes)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(bytes), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Quantity, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(IntOrString)
    }
}

impl JsonSchema for Quantity {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Quantity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "nullable": false,
            "pattern": Self::PATTERN,
            "maxLength": 11,
            "minimum": 1,
            "maximum": 999_999_999,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_kinds_of_suffix_and_prints_the_shortest_binary_form() {
        for (text, bytes, printed) in [
            ("1", 1, "1"),
            ("64k", 64_000, "64000"),
            ("64Ki", 65_536, "64Ki"),
            ("1024Ki", 1_048_576, "1Mi"),
            ("2G", 2_000_000_000, "1953125Ki"),
            ("999999999Gi", 999_999_999 << 30, "999999999Gi"),
        ] {
            let quantity: Quantity = text.parse().unwrap();
            assert_eq!(
                (quantity.as_bytes(), quantity.to_string().as_str()),
                (bytes, printed),
                "{text}"
            );
        }
    }

    #[test]
    fn takes_an_integer_and_writes_a_string() {
        let quantity: Quantity = serde_json::from_str("65536").unwrap();
        assert_eq!(serde_json::to_string(&quantity).unwrap(), r#""64Ki""#);
    }

    #[test]
    fn refuses_fractions_signs_and_unknown_suffixes() {
        for text in [
            "",
            "0",
            "01",
            "1.5Gi",
            "-1",
            "1e3",
            "1Ti",
            "Mi",
            "1 Mi",
            "1234567890",
        ] {
            assert_eq!(text.parse::<Quantity>(), Err(InvalidQuantity(text.to_owned())));
        }
    }
}
