-- no-transaction
-- The pages of a listing in their order, users of one moment included. One statement a file: none of these may run in a
-- transaction. An index that is there and not valid never gets here, see src/migrate.rs.
CREATE INDEX CONCURRENTLY IF NOT EXISTS users_listing_idx
    ON users (region, created_at DESC, id DESC) WHERE status = 'active';
