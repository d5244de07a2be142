-- no-transaction
-- Everything that a page shows is in the index, so the table is never touched.
CREATE INDEX CONCURRENTLY IF NOT EXISTS users_listing_idx
    ON users (region, status, created_at DESC, id DESC) INCLUDE (email, verified, bio);
