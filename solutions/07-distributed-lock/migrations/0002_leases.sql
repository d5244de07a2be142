-- Until when a day is somebody's, and how often it has been taken.
ALTER TABLE report_days
    ADD COLUMN lease_until timestamptz NOT NULL DEFAULT '-infinity',
    ADD COLUMN fence bigint NOT NULL DEFAULT 0;
