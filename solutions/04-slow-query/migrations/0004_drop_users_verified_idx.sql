-- no-transaction
-- Half of all users are verified: no plan ever used it, and every write paid for it.
DROP INDEX CONCURRENTLY IF EXISTS users_verified_idx;
