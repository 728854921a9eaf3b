//! The bundled ldk-server: ldk-node behind upstream's gRPC API.
