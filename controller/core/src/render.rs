//! World → what each target is told. Nothing here can fail: whatever can, fails in [`validate`](crate::validate).

pub mod envoy;
pub mod rules;
