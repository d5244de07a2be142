-- no-transaction
-- users_listing_idx has taken its place.
DROP INDEX CONCURRENTLY IF EXISTS users_active_idx;
