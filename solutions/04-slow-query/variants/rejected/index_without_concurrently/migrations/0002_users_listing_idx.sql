CREATE INDEX IF NOT EXISTS users_listing_idx ON users (region, status, created_at DESC, id DESC);
