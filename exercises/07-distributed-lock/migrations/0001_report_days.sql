-- One row for each day that somebody has begun.
CREATE TABLE report_days (
    day date PRIMARY KEY,
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'running', 'done')),
    replica text,
    started_at timestamptz,
    finished_at timestamptz
);
