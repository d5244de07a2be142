-- Refreshed every night by the scheduler.
CREATE MATERIALIZED VIEW IF NOT EXISTS active_users AS
SELECT id, email, region, status, verified, bio, created_at FROM users WHERE status = 'active';
