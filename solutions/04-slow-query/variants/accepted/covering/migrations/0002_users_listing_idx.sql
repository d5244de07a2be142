-- no-transaction
-- The address and the id are in the index for the exports that read nothing else.
CREATE INDEX CONCURRENTLY IF NOT EXISTS users_listing_idx
    ON users (region, status, created_at DESC, id DESC) INCLUDE (email);
