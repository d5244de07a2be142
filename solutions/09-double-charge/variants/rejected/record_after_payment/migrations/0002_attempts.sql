ALTER TABLE idempotency_keys
    DROP COLUMN payment_id,
    DROP COLUMN locked_until,
    ADD COLUMN status      int         NOT NULL,
    ADD COLUMN body        bytea       NOT NULL,
    ADD COLUMN finished_at timestamptz NOT NULL,
    ADD CONSTRAINT idempotency_keys_merchant_key UNIQUE (merchant, key);

DROP INDEX idempotency_keys_lookup;
