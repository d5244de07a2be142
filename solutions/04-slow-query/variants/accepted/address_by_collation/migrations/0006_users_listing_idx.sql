-- no-transaction
-- Equality columns first, then the order of the listing: a page is one run of neighbouring entries, and so is a count.
CREATE INDEX CONCURRENTLY IF NOT EXISTS users_listing_idx ON users (region, status, created_at DESC, id DESC);
