-- Rewrites the table under an exclusive lock: `migrate` sees to it that nobody queues for long before it is granted.
SET LOCAL lock_timeout = '300ms';
ALTER TABLE users ADD COLUMN IF NOT EXISTS email_key text GENERATED ALWAYS AS (lower(email)) STORED;
