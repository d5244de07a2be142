-- no-transaction
-- Ascending, and read backwards.
CREATE INDEX CONCURRENTLY IF NOT EXISTS users_listing_idx ON users (status, region, created_at, id);
