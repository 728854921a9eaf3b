//! The bundled Elements node: a regtest chain behind the JSON-RPC of elementsd.
