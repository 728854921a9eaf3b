//! The swap server's gRPC services.
