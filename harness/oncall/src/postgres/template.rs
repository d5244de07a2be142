//! Which text a driver has prepared when `pg_stat_statements` shows one: there every constant is a parameter.

/// Whether `template` is what PostgreSQL shows for `sql`.
pub fn stands_for(template: &str, sql: &str) -> bool {
    let (mut shown, mut own) = (words(template).into_iter(), words(sql).into_iter());
    loop {
        match (shown.next(), own.next()) {
            (None, None) => return true,
            (Some(shown), Some(own)) if shown == own => {}
            (Some(shown), Some(own)) if shown.starts_with('$') && is_constant(own) => {}
            _ => return false,
        }
    }
}

fn is_constant(word: &str) -> bool {
    word.starts_with(|letter: char| letter == '\'' || letter.is_ascii_digit())
}

/// Names, numbers, texts in quotes, parameters, and every other letter for itself.
fn words(sql: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = sql.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' | '"' => quoted(rest, first),
            '$' | '_' | '0'..='9' | 'a'..='z' | 'A'..='Z' => rest
                .find(|letter: char| !(letter.is_ascii_alphanumeric() || matches!(letter, '_' | '$' | '.')))
                .unwrap_or(rest.len()),
            other => other.len_utf8(),
        };
        // A dot belongs to numbers, and ends names.
        let word = &rest[..length];
        let word = match (first.is_ascii_digit(), word.find('.')) {
            (false, Some(dot)) if dot > 0 && first != '\'' && first != '"' => &word[..dot],
            _ => word,
        };
        words.push(word);
        rest = rest[word.len()..].trim_start();
    }
    words
}

/// The length of a text in quotes, which are doubled within.
fn quoted(rest: &str, quote: char) -> usize {
    let mut letters = rest.char_indices().skip(1).peekable();
    while let Some((at, letter)) = letters.next() {
        if letter == quote && letters.next_if(|(_, next)| *next == quote).is_none() {
            return at + 1;
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::stands_for;

    #[rstest]
    #[case("SELECT a FROM t WHERE b = $1", "SELECT a FROM t WHERE b = $1", true)]
    #[case(
        "SELECT $2 FROM t WHERE b=$1 AND c = $3",
        "SELECT 1 FROM t\n WHERE b = $1 AND c = 'it''s'",
        true
    )]
    #[case(
        "UPDATE t SET s = $2 WHERE t.id = $1",
        "UPDATE t SET s = 'done' WHERE t.id = $1",
        true
    )]
    #[case("SELECT a FROM t WHERE b = $1", "SELECT a FROM t WHERE c = $1", false)]
    #[case("SELECT a FROM t WHERE b = $1", "SELECT a FROM t WHERE b = other", false)]
    #[case("SELECT a FROM t", "SELECT a FROM t LIMIT 5", false)]
    fn constants_are_parameters_there(#[case] template: &str, #[case] sql: &str, #[case] same: bool) {
        assert_eq!(stands_for(template, sql), same);
    }
}
