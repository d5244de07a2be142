-- no-transaction
-- Verified people first: that takes half of the table out at once.
CREATE INDEX CONCURRENTLY IF NOT EXISTS users_listing_idx ON users (verified);
