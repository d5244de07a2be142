-- The number of the last taking; above every fence that was made from microseconds.
ALTER TABLE report_days ADD COLUMN fence bigint NOT NULL DEFAULT 0;

-- In the region with PostgreSQL: who has a day, and until when.
CREATE TABLE report_leases (
    day date PRIMARY KEY,
    taking bigint NOT NULL DEFAULT 1,
    replica text NOT NULL,
    run text NOT NULL,
    until timestamptz
);
