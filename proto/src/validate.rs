//! Checks messages by the protovalidate constraints that their .proto file states.
