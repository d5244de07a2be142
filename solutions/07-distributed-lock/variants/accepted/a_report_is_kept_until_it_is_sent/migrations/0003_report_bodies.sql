-- The report of each day, from when it is made.
CREATE TABLE report_bodies (day date PRIMARY KEY, body bytea NOT NULL);
