CREATE TABLE orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    reference text NOT NULL UNIQUE,
    customer text NOT NULL,
    sku text NOT NULL,
    quantity bigint NOT NULL,
    total_cents bigint NOT NULL
);

CREATE INDEX orders_customer ON orders (customer, id);
CREATE INDEX orders_sku ON orders (sku, id);

CREATE TABLE order_events (
    order_id bigint NOT NULL REFERENCES orders,
    kind text NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);
