-- no-transaction
-- Addresses without regard to case, as eight bytes whatever their length.
CREATE INDEX CONCURRENTLY IF NOT EXISTS users_finding_idx
    ON users (hashtextextended(lower(email COLLATE "C"), 0));
