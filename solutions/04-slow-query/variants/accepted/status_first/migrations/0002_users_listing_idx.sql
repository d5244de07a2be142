-- no-transaction
CREATE INDEX CONCURRENTLY IF NOT EXISTS users_listing_idx ON users (status, region, created_at);
