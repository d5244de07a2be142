-- Moves money, or says why not: both balances and one row in transfers. Rows are locked in the order of their numbers.
CREATE FUNCTION move_money(source bigint, target bigint, amount bigint, OUT outcome text, OUT number bigint) AS $$
DECLARE
    there int;
    holds bigint;
BEGIN
    SELECT count(*) INTO there
    FROM (SELECT FROM accounts WHERE id IN (source, target) AND closed_at IS NULL ORDER BY id FOR NO KEY UPDATE) locked;
    IF there < 2 THEN
        outcome := 'no account';
        RETURN;
    END IF;
    SELECT balance_cents INTO holds FROM accounts WHERE id = source;
    IF holds < amount THEN
        outcome := 'insufficient';
        RETURN;
    END IF;
    UPDATE accounts SET balance_cents = balance_cents - amount WHERE id = source;
    UPDATE accounts SET balance_cents = balance_cents + amount WHERE id = target;
    INSERT INTO transfers (from_id, to_id, cents) VALUES (source, target, amount) RETURNING id INTO number;
    outcome := 'moved';
END
$$ LANGUAGE plpgsql;
