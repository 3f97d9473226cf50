-- When what has begun under a key's rate would have begun, had it been spread evenly: the next may begin as long as this
-- is not further ahead than the rate's whole time. An hour after that the row says nothing more, and goes.
CREATE TABLE paces (
    key      text PRIMARY KEY,
    spent_to timestamptz NOT NULL
);
