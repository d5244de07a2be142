-- no-transaction
-- What it was meant for is served by users_listing_idx, whatever the statement looks like.
DROP INDEX CONCURRENTLY IF EXISTS users_active_idx;
