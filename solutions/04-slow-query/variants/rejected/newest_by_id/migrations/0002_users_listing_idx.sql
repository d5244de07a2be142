-- no-transaction
CREATE INDEX CONCURRENTLY IF NOT EXISTS users_listing_idx ON users (region, status, id DESC);
