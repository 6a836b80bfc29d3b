use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time as Gateway API writes it (GEP-2257): up to four numbers of at most five digits, each with a unit `h`, `m`, `s` or `ms`,
/// for example `1h30m` or `250ms`. Printed in its shortest form, so `90m` comes back as `1h30m`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration {
    millis: u64,
}

/// The text is not a GEP-2257 duration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidDuration(String);

impl Duration {
    /// The pattern of GEP-2257.
    pub const PATTERN: &str = "^([0-9]{1,5}(h|m|s|ms)){1,4}$";
    /// No time at all; for most timeouts it means "disabled".
    pub const ZERO: Self = Self::from_millis(0);

    const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

    /// A duration of so many milliseconds, the finest unit of the API.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self { millis }
    }

    /// A duration of so many seconds.
    #[must_use]
    pub const fn from_secs(secs: u32) -> Self {
        Self {
            millis: secs as u64 * 1_000,
        }
    }

    /// The whole duration in milliseconds.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.millis
    }

    /// Whether it is zero, however it was written (`0s`, `0h0m`).
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.millis == 0
    }

    /// The same as a [`std::time::Duration`].
    #[must_use]
    pub const fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.millis)
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        duration.to_std()
    }
}

impl FromStr for Duration {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidDuration(text.to_owned());
        let mut rest = text;
        let mut millis = 0;
        for _ in 0..4 {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            if !(1..=5).contains(&digits) {
                return Err(invalid());
            }
            let (number, tail) = rest.split_at(digits);
            let letters = tail.bytes().take_while(|byte| !byte.is_ascii_digit()).count();
            let Some((unit, tail)) = tail.split_at_checked(letters) else {
                return Err(invalid());
            };
            let Some((_, factor)) = Self::UNITS.iter().find(|(name, _)| *name == unit) else {
                return Err(invalid());
            };
            // Five digits of hours, four times, are far below u64::MAX milliseconds.
            millis += number.parse::<u64>().map_err(|_| invalid())? * factor;
            rest = tail;
            if rest.is_empty() {
                return Ok(Self { millis });
            }
        }
        Err(invalid())
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_zero() {
            return f.write_str("0s");
        }
        let mut rest = self.millis;
        for (unit, factor) in Self::UNITS {
            if rest >= factor {
                write!(f, "{}{unit}", rest / factor)?;
                rest %= factor;
            }
        }
        Ok(())
    }
}

impl fmt::Display for InvalidDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not a duration; write it like 1h30m, 10s or 250ms",
            self.0
        )
    }
}

impl std::error::Error for InvalidDuration {}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'_, str>::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": Self::PATTERN, "maxLength": 28 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_unit_and_prints_the_shortest_form() {
        for (text, millis, printed) in [
            ("0s", 0, "0s"),
            ("0h0m", 0, "0s"),
            ("250ms", 250, "250ms"),
            ("90m", 5_400_000, "1h30m"),
            ("1h30m10s5ms", 5_410_005, "1h30m10s5ms"),
            ("99999h", 359_996_400_000, "99999h"),
        ] {
            let duration: Duration = text.parse().unwrap();
            assert_eq!(
                (duration.as_millis(), duration.to_string().as_str()),
                (millis, printed),
                "{text}"
            );
        }
    }

    #[test]
    fn refuses_what_gep_2257_refuses() {
        for text in [
            "",
            "1",
            "s",
            "1.5h",
            "-1s",
            "1d",
            "123456s",
            "1h1m1s1ms1s",
            "1 s",
            "1sé",
            "10µs",
        ] {
            assert_eq!(text.parse::<Duration>(), Err(InvalidDuration(text.to_owned())));
        }
    }
}
