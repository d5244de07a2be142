-- no-transaction
-- All entries of a region have one key, which is kept once: counting reads six bytes a user.
CREATE INDEX CONCURRENTLY IF NOT EXISTS users_counting_idx
    ON users (region) WHERE status = 'active';
