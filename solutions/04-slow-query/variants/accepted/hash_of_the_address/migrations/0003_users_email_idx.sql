-- no-transaction
-- Addresses are only ever compared for equality.
CREATE INDEX CONCURRENTLY IF NOT EXISTS users_email_idx ON users USING hash (lower(email));
