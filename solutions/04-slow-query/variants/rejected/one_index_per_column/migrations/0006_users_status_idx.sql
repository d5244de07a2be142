-- no-transaction
CREATE INDEX CONCURRENTLY IF NOT EXISTS users_status_idx ON users (status);
