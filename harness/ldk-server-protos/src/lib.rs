//! The ldk-server API as it is on the wire: messages, method names, gRPC framing and authentication.
//!
//! No I/O happens here: `ldk-server-client` and the bundled daemon share this crate, so that both speak the same
//! dialect. The names and numbers are those of lightningdevkit/ldk-server; where its versions differ, the declarations
//! accept all of them (see [`events`] and the comments in `proto/`).

pub mod auth;
pub mod endpoints;
pub mod events;
pub mod grpc;
pub mod macaroon;

/// Requests and responses of `api.LightningNode`.
pub mod api {
    include!(concat!(env!("OUT_DIR"), "/api.rs"));
}

/// Values shared by requests, responses and events.
pub mod types {
    include!(concat!(env!("OUT_DIR"), "/types.rs"));
}

/// The whole API as a serialised `google.protobuf.FileDescriptorSet`, for whoever reads messages by name.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

pub use prost::Message;
