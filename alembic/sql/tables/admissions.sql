-- One row. Who admits runs under their limits moves the number on in the same statement: of two that were sent one after
-- another, because the answer to the first got lost, one finds it moved and admits nothing.
CREATE TABLE admissions (
    one    boolean PRIMARY KEY DEFAULT true CHECK (one),
    number bigint NOT NULL DEFAULT 0
);

INSERT INTO admissions DEFAULT VALUES;
