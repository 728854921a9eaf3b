-- Which service a swap belongs to: 'ln_to_liquid', 'loop_out' or 'loop_in'.
ALTER TABLE swaps ADD COLUMN kind TEXT NOT NULL DEFAULT 'ln_to_liquid';
CREATE INDEX swaps_of_kind ON swaps (kind, created_at, id);
