-- Below this no swap takes its index, whatever the table of swaps has: after a loss of the store, what may have been used
-- before. One row at most.
CREATE TABLE index_floor (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    floor INTEGER NOT NULL
) STRICT;
