-- Until when a day is its owner's; days that were left "running" are nobody's.
ALTER TABLE report_days ADD COLUMN owner text;
ALTER TABLE report_days ADD COLUMN heard_until timestamptz;
-- How often a day was taken.
ALTER TABLE report_days ADD COLUMN takings bigint NOT NULL DEFAULT 0;
