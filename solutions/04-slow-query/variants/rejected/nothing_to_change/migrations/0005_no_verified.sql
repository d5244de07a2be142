-- no-transaction
-- Nothing filters by it any more, and every write pays for it.
DROP INDEX CONCURRENTLY IF EXISTS users_verified_idx;
