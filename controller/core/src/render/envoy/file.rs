use serde::Serialize;
use xxhash_rust::xxh64::xxh64;

/// One file of xDS: a DiscoveryResponse in JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct File {
    /// `version_info`, made from the resources: Envoy repeats it where it says what it has taken.
    pub version: String,
    /// The JSON.
    pub content: String,
}

impl File {
    pub(super) fn new(resources: &impl Serialize) -> Self {
        let resources = json_text(resources);
        let version = format!("{:016x}", xxh64(resources.as_bytes(), 0));
        let content = format!(r#"{{"version_info":"{version}","resources":{resources}}}"#);
        Self { version, content }
    }
}

/// What has text for keys and finite numbers is always JSON.
pub(super) fn json_text(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| unreachable!("not JSON: {error}"))
}

/// A part of a file's name that means the same and cannot be a path: bytes of a name and of an address stay, but for
/// colons, which no name has.
pub(super) fn file_name(part: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    part.bytes()
        .map(|byte| match byte {
            b':' => "_".to_owned(),
            byte if keep(byte) => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}
