-- no-transaction
CREATE INDEX CONCURRENTLY IF NOT EXISTS users_listing_idx ON users (created_at DESC, id DESC);
