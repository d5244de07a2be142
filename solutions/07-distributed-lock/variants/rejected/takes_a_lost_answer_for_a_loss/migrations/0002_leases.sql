-- Who has a day, and until when. Days that were left "running" have no lease: they are free.
ALTER TABLE report_days
    ADD COLUMN token text,
    ADD COLUMN lease_until timestamptz,
    -- Above every fence that was made from microseconds.
    ADD COLUMN fence bigint NOT NULL DEFAULT 2000000000000000;
