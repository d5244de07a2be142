-- The largest index but one, and no listing reads it.
SET LOCAL lock_timeout = '300ms';
ALTER TABLE users DROP CONSTRAINT IF EXISTS users_pkey;
