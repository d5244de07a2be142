-- no-transaction
CREATE INDEX CONCURRENTLY IF NOT EXISTS users_by_verified ON users (verified);
