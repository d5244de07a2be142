-- This file is provided; what a fix needs goes into migrations of its own, from 0002 on.

-- What the auditors read: a 'started' for every report, and one end: 'done', 'failed' or 'cancelled'.
CREATE TABLE audit (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    report text NOT NULL,
    event  text NOT NULL,
    at     timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX audit_report ON audit (report);

CREATE TABLE results (
    report text NOT NULL,
    line   bigint NOT NULL,
    cents  bigint NOT NULL,
    PRIMARY KEY (report, line)
);

-- The warehouse: n lines, in about so many seconds, evenly. Declared STABLE so that the planner puts its body into the
-- calling statement, which then gets each line as soon as there is one.
CREATE FUNCTION slow_rows(n bigint, secs double precision) RETURNS TABLE (line bigint, units bigint)
    LANGUAGE sql STABLE AS $$
    SELECT line, CASE WHEN pg_sleep(secs / n) IS NOT NULL THEN line * 7 % 100 + 1 END
      FROM generate_series(1, n) AS line
$$;
