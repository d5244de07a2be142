-- The ledger: one row per charge. Accounting reads it every night.
CREATE TABLE payments (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    merchant     text        NOT NULL,
    order_id     text        NOT NULL,
    amount_cents bigint      NOT NULL,
    currency     text        NOT NULL,
    charge_id    text        NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX payments_order ON payments (merchant, order_id);

-- What merchants sent in the Idempotency-Key header. payment_id is set once the payment went through.
CREATE TABLE idempotency_keys (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    merchant     text        NOT NULL,
    key          text        NOT NULL,
    fingerprint  bytea       NOT NULL,
    payment_id   bigint REFERENCES payments (id),
    locked_until timestamptz NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX idempotency_keys_lookup ON idempotency_keys (merchant, key);
