-- One row. Who admits runs under their limits moves the number on in the same statement: of two that were sent one after
-- another, because the answer to the first got lost, one finds it moved and admits nothing.
CREATE TABLE admissions (
    one    boolean PRIMARY KEY DEFAULT true CHECK (one),
    number bigint NOT NULL DEFAULT 0
);

INSERT INTO admissions DEFAULT VALUES;

-- When what has begun under a key's rate would have begun, had it been spread evenly: the next may begin as long as this
-- is not further ahead than the rate's whole time. An hour after that the row says nothing more, and goes.
CREATE TABLE paces (
    key      text PRIMARY KEY,
    spent_to timestamptz NOT NULL
);
