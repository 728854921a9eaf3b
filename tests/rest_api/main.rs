//! The REST API of loop out and loop in as strangers meet it, over real sockets and before a desk in memory.

mod behaviour;
mod client;
mod desk;
mod documentation;
mod generate;
mod hostile;
mod inputs;
mod limits;
mod requests;
mod schema;
mod service;
