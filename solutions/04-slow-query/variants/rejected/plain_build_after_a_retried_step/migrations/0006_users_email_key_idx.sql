CREATE INDEX users_email_key_idx ON users (email_key);
