-- What the swap server must never forget. Text columns hold lowercase hexadecimal, times are milliseconds since 1970.

CREATE TABLE swaps (
    id TEXT PRIMARY KEY,
    -- From which the swap's keys and preimage are derived: used once, for ever.
    swap_index INTEGER NOT NULL UNIQUE,
    request_id TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL,
    phase TEXT NOT NULL,
    -- 1 when nothing can happen to it any more.
    settled INTEGER NOT NULL DEFAULT 0,
    asset TEXT NOT NULL,
    amount INTEGER NOT NULL,
    fee_value_sat INTEGER NOT NULL,
    price_msat INTEGER NOT NULL,
    payment_hash TEXT NOT NULL UNIQUE,
    witness_script TEXT NOT NULL,
    address TEXT NOT NULL,
    timeout INTEGER NOT NULL,
    min_confirmations INTEGER NOT NULL,
    invoice TEXT,
    funding_txid TEXT,
    funding_vout INTEGER,
    refund_txid TEXT,
    spend_txid TEXT,
    -- The whole swap as JSON; the columns above are for queries and for people.
    body TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX swaps_unsettled ON swaps (settled) WHERE settled = 0;
CREATE INDEX swaps_by_age ON swaps (created_at, id);

-- The idempotency keys of CreateSwap.
CREATE TABLE request_ids (
    request_id TEXT PRIMARY KEY,
    swap_id TEXT NOT NULL REFERENCES swaps (id),
    -- SHA-256 of the request.
    fingerprint BLOB NOT NULL
) STRICT;

-- The coins of the wallet that swaps use.
CREATE TABLE reservations (
    id INTEGER PRIMARY KEY,
    swap_id TEXT NOT NULL REFERENCES swaps (id),
    outpoint TEXT NOT NULL,
    asset TEXT NOT NULL,
    value INTEGER NOT NULL,
    -- 'reserved', 'spent' (by a signed funding) or 'released'.
    state TEXT NOT NULL
) STRICT;
-- No coin in two fundings.
CREATE UNIQUE INDEX reservations_of_coins ON reservations (outpoint) WHERE state <> 'released';
CREATE INDEX reservations_of_swaps ON reservations (swap_id);

-- What is to be done: stored with the transition that asks for it, done after.
CREATE TABLE effects (
    id INTEGER PRIMARY KEY,
    swap_id TEXT NOT NULL REFERENCES swaps (id),
    effect TEXT NOT NULL,
    -- 'pending' or 'done'.
    state TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    done_at INTEGER
) STRICT;
-- An effect that waits to be done is not asked for again.
CREATE UNIQUE INDEX effects_pending ON effects (swap_id, effect) WHERE state = 'pending';

-- How far each chain was followed.
CREATE TABLE cursors (
    chain TEXT PRIMARY KEY,
    height INTEGER NOT NULL
) STRICT;

-- How assets are sold, where the operator has said otherwise than the configuration; JSON.
CREATE TABLE sales (
    asset TEXT PRIMARY KEY,
    sale TEXT NOT NULL
) STRICT;

-- Assets of which no new swaps are made.
CREATE TABLE paused (
    asset TEXT PRIMARY KEY
) STRICT;
