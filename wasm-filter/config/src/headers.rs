//! Header names that Clew owns. From outside each is removed; none of ours is ever sent to a client but [`REASON`].

/// What the mesh hashes on: the chosen pod's `ip:port`, or another value that Maglev decodes to it.
pub const HOST: &str = "x-clew-host";
/// The chosen backendRef (`namespace/name:port`), where a rule has several.
pub const BACKEND: &str = "x-clew-backend";
/// Why Clew itself answered a handshake with 4xx or 5xx: one of [`Reason`](crate::rule::Reason).
pub const REASON: &str = "x-clew-reason";
/// The payload of the token that Envoy verified for this request, in base64url: read by the filter and taken away again.
pub const JWT_PAYLOAD: &str = "x-clew-jwt-payload";
/// All headers that are removed from a request before anything looks at it.
pub const REMOVED_FROM_REQUESTS: [&str; 4] = [HOST, BACKEND, REASON, JWT_PAYLOAD];
/// What HTTP/1 calls `Host`, as Envoy and its filters name it whatever the protocol (RFC 9113, 8.3.1).
pub const AUTHORITY: &str = ":authority";
