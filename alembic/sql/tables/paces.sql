-- When what has begun under a key's rate would have begun, had it been spread evenly: the next may begin as long as this
-- is not further ahead than the rate's whole time. One that is past says nothing more; there is one row for each key.
CREATE TABLE paces (
    key      text PRIMARY KEY,
    spent_to timestamptz NOT NULL
);
