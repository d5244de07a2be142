-- no-transaction
CREATE INDEX CONCURRENTLY IF NOT EXISTS users_by_region_created_at ON users (region, created_at);
