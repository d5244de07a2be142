//! Just enough of SQL's grammar to tell work from housekeeping.

/// The statements of a simple query, split at the semicolons that end them; what is only space or comment is left out.
pub(super) fn split(sql: &str) -> impl Iterator<Item = &str> {
    let mut rest = sql;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let end = statement_len(rest);
            let statement = &rest[..end];
            rest = rest[end..].strip_prefix(';').unwrap_or(&rest[end..]);
            if !first_word(statement).is_empty() {
                return Some(statement.trim());
            }
        }
        None
    })
}

/// Whether one statement reads or changes data, as opposed to what drivers and pools do on their own: transaction
/// control, session settings, `DISCARD`, `DEALLOCATE`, an empty query, and `SELECT 1` as a ping.
pub(super) fn is_data(statement: &str) -> bool {
    let first = first_word(statement);
    let housekeeping = [
        "",
        "begin",
        "start",
        "commit",
        "end",
        "rollback",
        "abort",
        "savepoint",
        "release",
        "set",
        "reset",
        "show",
        "discard",
        "deallocate",
    ];
    if housekeeping.iter().any(|word| first.eq_ignore_ascii_case(word)) {
        return false;
    }
    let mut words = statement.trim_end_matches([';', ' ']).split_ascii_whitespace();
    let ping = words
        .next()
        .is_some_and(|word| word.eq_ignore_ascii_case("select"))
        && words.next() == Some("1")
        && words.next().is_none();
    !ping
}

/// The first word outside comments and parentheses; empty when there is none.
fn first_word(statement: &str) -> &str {
    let mut rest = statement;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '(' || c == ';');
        let skipped = comment_len(rest.as_bytes());
        if skipped == 0 {
            break;
        }
        rest = &rest[skipped..];
    }
    let end = rest
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(rest.len());
    // Something that is no word (a literal, an operator) is still something.
    if end == 0 { rest } else { &rest[..end] }
}

/// Bytes up to the semicolon that ends the first statement, which quotes, dollar quotes and comments may hide.
fn statement_len(sql: &str) -> usize {
    let bytes = sql.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        at += match bytes[at] {
            b';' => return at,
            b'\'' => {
                let escapes = at > 0 && matches!(bytes[at - 1], b'e' | b'E');
                quoted_len(&bytes[at..], b'\'', escapes)
            }
            b'"' => quoted_len(&bytes[at..], b'"', false),
            b'$' => dollar_quoted_len(&bytes[at..]),
            _ => comment_len(&bytes[at..]).max(1),
        };
    }
    bytes.len()
}

/// Bytes of the comment that stands at the start; 0 when there is none. Comments in C's style nest.
fn comment_len(bytes: &[u8]) -> usize {
    match bytes {
        [b'-', b'-', ..] => bytes
            .iter()
            .position(|&b| b == b'\n')
            .map_or(bytes.len(), |end| end + 1),
        [b'/', b'*', ..] => {
            let (mut depth, mut at) = (1_u32, 2);
            while at < bytes.len() && depth > 0 {
                match &bytes[at..] {
                    [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
                    [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
                    _ => at += 1,
                }
            }
            at
        }
        _ => 0,
    }
}

/// Bytes of the quoted text that stands at the start. A doubled quote reads as two texts, which ends at the same place.
fn quoted_len(bytes: &[u8], quote: u8, escapes: bool) -> usize {
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if escapes => at += 2,
            b if b == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Bytes of the dollar-quoted text that stands at the start; 1 when it is only a dollar, as in `$1`.
fn dollar_quoted_len(bytes: &[u8]) -> usize {
    let name_end = bytes[1..]
        .iter()
        .position(|b| !b.is_ascii_alphanumeric() && *b != b'_' && b.is_ascii());
    let Some(name_end) = name_end.map(|end| end + 1) else {
        return 1;
    };
    if bytes[name_end] != b'$' || bytes[1].is_ascii_digit() {
        return 1;
    }
    let delimiter = &bytes[..=name_end];
    let body = &bytes[delimiter.len()..];
    body.windows(delimiter.len())
        .position(|window| window == delimiter)
        .map_or(bytes.len(), |end| end + 2 * delimiter.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::one("SELECT 1", &["SELECT 1"])]
    #[case::two("BEGIN; SELECT 2;", &["BEGIN", "SELECT 2"])]
    #[case::empty("", &[])]
    #[case::only_comments(" ; -- nothing;\n /* a /* b; */ */ ; ", &[])]
    #[case::quotes("SELECT 'a;''b', \";\"; SELECT 2", &["SELECT 'a;''b', \";\"", "SELECT 2"])]
    #[case::escapes(r"SELECT E'\';'; SELECT 2", &[r"SELECT E'\';'", "SELECT 2"])]
    #[case::no_escapes(r"SELECT '\'; SELECT 2", &[r"SELECT '\'", "SELECT 2"])]
    #[case::dollars("DO $x$ BEGIN; $$ END $x$; SELECT $1", &["DO $x$ BEGIN; $$ END $x$", "SELECT $1"])]
    #[case::dollar_at_end("SELECT $", &["SELECT $"])]
    #[case::unterminated("SELECT 'x;", &["SELECT 'x;"])]
    #[case::not_ascii("SELECT 'é;ß'; SELECT $é$;$é$", &["SELECT 'é;ß'", "SELECT $é$;$é$"])]
    fn statements(#[case] sql: &str, #[case] expected: &[&str]) {
        assert_eq!(split(sql).collect::<Vec<_>>(), expected);
    }

    #[rstest]
    #[case("SELECT id FROM users", true)]
    #[case("(SELECT 2) UNION SELECT 3", true)]
    #[case("/* get */ insert into t values (1)", true)]
    #[case("WITH x AS (SELECT 1) SELECT * FROM x", true)]
    #[case("SELECT pg_backend_pid()", true)]
    #[case("LOCK TABLE t", true)]
    #[case("SELECT 1", false)]
    #[case("select 1;", false)]
    #[case("SELECT 1 FROM users", true)]
    #[case("BEGIN", false)]
    #[case("begin ISOLATION LEVEL SERIALIZABLE", false)]
    #[case("START TRANSACTION", false)]
    #[case("commit;", false)]
    #[case("END", false)]
    #[case("ROLLBACK TO SAVEPOINT _sqlx_savepoint_1", false)]
    #[case("SAVEPOINT a", false)]
    #[case("SET LOCAL lock_timeout = '1s'", false)]
    #[case("-- hi\nSET a = 1", false)]
    #[case("DISCARD ALL", false)]
    #[case("", false)]
    #[case("/* SQLx ping */", false)]
    #[case("settle()", true)]
    fn work_and_housekeeping(#[case] sql: &str, #[case] expected: bool) {
        assert_eq!(is_data(sql), expected);
    }
}
