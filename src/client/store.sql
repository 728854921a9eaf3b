CREATE TABLE swaps (
    -- From which the claim key is derived.
    key_index    INTEGER PRIMARY KEY AUTOINCREMENT,
    request_id   TEXT NOT NULL UNIQUE,
    swap_id      TEXT,
    -- Of the invoice; two swaps never share one, or the payment of one would be taken for that of the other.
    payment_hash TEXT UNIQUE,
    stage        TEXT NOT NULL,
    -- The record as JSON.
    record       TEXT NOT NULL,
    -- How often the row was written.
    version      INTEGER NOT NULL
) STRICT;
