//! The bundled Elements node over HTTP: the server in this process, the client a socket.

mod client;
mod http;
mod verdicts;
mod waits;
mod wallets;
