//! How what is tagged on the wire is read: the derived reader of a tagged enum buffers whatever it meets, and was a
//! twentieth of the module.

use serde::Deserialize;

/// A [`KeySource`](super::KeySource) of any type: what a type does not have is absent.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct KeySource {
    r#type: String,
    name: String,
    index: u32,
    path: Vec<String>,
    header: String,
    verified: bool,
    prefix: String,
    trusted_hops: u32,
}

impl TryFrom<KeySource> for super::KeySource {
    type Error = &'static str;

    fn try_from(flat: KeySource) -> Result<Self, Self::Error> {
        let KeySource {
            r#type,
            name,
            index,
            path,
            header,
            verified,
            prefix,
            trusted_hops,
        } = flat;
        Ok(match r#type.as_str() {
            "Cookie" => Self::Cookie { name },
            "Header" => Self::Header { name },
            "QueryParam" => Self::QueryParam { name },
            "PathSegment" => Self::PathSegment { index },
            "JWTClaim" => Self::JwtClaim {
                path,
                header,
                verified,
            },
            "Subprotocol" => Self::Subprotocol { prefix },
            "SourceIP" => Self::SourceIp { trusted_hops },
            _ => return Err("unknown type of key source"),
        })
    }
}

/// An [`OnMissing`](super::OnMissing) of any type.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct OnMissing {
    r#type: String,
    cookie: String,
    path: String,
}

impl TryFrom<OnMissing> for super::OnMissing {
    type Error = &'static str;

    fn try_from(flat: OnMissing) -> Result<Self, Self::Error> {
        let OnMissing { r#type, cookie, path } = flat;
        Ok(match r#type.as_str() {
            "LoadBalance" => Self::LoadBalance,
            "Generate" => Self::Generate { cookie, path },
            "Reject" => Self::Reject,
            _ => return Err("unknown type of onMissing"),
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::rule::{KeySource, OnMissing};

    /// The compiler asks here for a new variant: let it be written and read below.
    const fn is_read_below(source: &KeySource) -> bool {
        match source {
            KeySource::Cookie { .. }
            | KeySource::Header { .. }
            | KeySource::QueryParam { .. }
            | KeySource::PathSegment { .. }
            | KeySource::JwtClaim { .. }
            | KeySource::Subprotocol { .. }
            | KeySource::SourceIp { .. } => true,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let name = || "k".to_owned();
        for source in [
            KeySource::Cookie { name: name() },
            KeySource::Header { name: name() },
            KeySource::QueryParam { name: name() },
            KeySource::PathSegment { index: 3 },
            KeySource::JwtClaim {
                path: vec![name(), name()],
                header: name(),
                verified: true,
            },
            KeySource::Subprotocol { prefix: name() },
            KeySource::SourceIp { trusted_hops: 2 },
        ] {
            assert!(is_read_below(&source));
            let written = serde_json::to_string(&source).unwrap();
            assert_eq!(
                serde_json::from_str::<KeySource>(&written).unwrap(),
                source,
                "{written}"
            );
        }
        assert!(serde_json::from_str::<KeySource>(r#"{"type":"Tomorrow"}"#).is_err());
        let generate = OnMissing::Generate {
            cookie: name(),
            path: name(),
        };
        for missing in [OnMissing::LoadBalance, generate, OnMissing::Reject] {
            let written = serde_json::to_string(&missing).unwrap();
            assert_eq!(serde_json::from_str::<OnMissing>(&written).unwrap(), missing);
        }
        assert!(serde_json::from_str::<OnMissing>(r#"{"cookie":"k"}"#).is_err());
    }
}
