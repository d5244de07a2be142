-- no-transaction
CREATE INDEX CONCURRENTLY IF NOT EXISTS users_by_region ON users (region);
