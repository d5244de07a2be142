-- One partition holds everybody who is active. The swap needs the table to itself; `migrate` sees to it that nobody queues
-- for long before that is granted.
SET LOCAL lock_timeout = '300ms';
LOCK TABLE users IN ACCESS EXCLUSIVE MODE;

ALTER TABLE users RENAME TO users_before;
ALTER TABLE users_before RENAME CONSTRAINT users_pkey TO users_before_pkey;

CREATE TABLE users (LIKE users_before INCLUDING DEFAULTS) PARTITION BY LIST (status);
CREATE TABLE users_active PARTITION OF users FOR VALUES IN ('active');
CREATE TABLE users_others PARTITION OF users DEFAULT;
INSERT INTO users SELECT * FROM users_before;

ALTER SEQUENCE users_id_seq OWNED BY users.id;
DROP TABLE users_before;

ALTER TABLE users ADD PRIMARY KEY (id, status);
CREATE INDEX users_listing_idx ON users_active (region, created_at DESC, id DESC);
CREATE INDEX users_email_idx ON users (lower(email));
