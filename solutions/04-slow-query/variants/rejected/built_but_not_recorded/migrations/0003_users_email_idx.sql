-- no-transaction
-- The predicate is on lower(email), so that is what has to be indexed.
CREATE INDEX CONCURRENTLY users_email_idx ON users (lower(email));
