CREATE INDEX IF NOT EXISTS active_users_listing_idx ON active_users (region, created_at DESC, id DESC);
