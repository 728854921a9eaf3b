//! What the server must never forget, in SQLite.
