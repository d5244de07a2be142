DROP INDEX idempotency_keys_lookup;
ALTER TABLE idempotency_keys ADD CONSTRAINT idempotency_keys_merchant_key UNIQUE (merchant, key);
