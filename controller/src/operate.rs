//! A cluster as operators reach it: from a workstation, through its API server and never past it. What they may do is what
//! their own account may.

pub(crate) mod check;
mod connection;
pub(crate) mod pods;
pub(crate) mod policies;
mod replicas;
pub(crate) mod routes;
mod standing;

pub(crate) use connection::Connection;
pub(crate) use pods::now;
pub(crate) use replicas::{Answers, Asking, Controller};
pub(crate) use standing::Standing;
