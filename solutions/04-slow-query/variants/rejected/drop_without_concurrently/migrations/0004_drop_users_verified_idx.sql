DROP INDEX IF EXISTS users_verified_idx;
