-- no-transaction
CREATE INDEX CONCURRENTLY IF NOT EXISTS users_by_email ON users (email);
