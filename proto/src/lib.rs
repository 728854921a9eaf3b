//! The swap server's API: the messages and services of `proto/`, and their constraints.
//!
//! Nothing here knows how a swap is made.

pub mod loops;
pub mod validate;

/// Package `ln_liquid_swap.v1`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    reason = "generated"
)]
pub mod v1 {
    tonic::include_proto!("ln_liquid_swap.v1");
}

/// The compiled .proto files as a `FileDescriptorSet`, for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
