//! Globs of manifests: `**` for any folders, and within a name `*`, `?`, `[abc]`, `[a-z]`, `[!abc]`. The crates for it
//! bring a regex engine, a tenth of what a fresh clone compiles before its first grade.

use std::path::Path;

/// Patterns of paths, relative to one folder.
#[derive(Clone, Debug)]
pub struct Globs(Vec<String>);

impl Globs {
    /// # Errors
    /// A pattern that means something else than the author may think.
    pub fn parse(patterns: &[String]) -> Result<Globs, String> {
        match patterns.iter().find(|pattern| !is_sound(pattern)) {
            None => Ok(Globs(patterns.to_vec())),
            Some(pattern) => Err(format!(
                "`{pattern}`: expected a path from the exercise's folder, of names with `*`, `?` and `[…]`, and `**` \
                 for any folders"
            )),
        }
    }

    /// Whether one of the patterns covers `path`, all of it.
    pub fn is_match(&self, path: impl AsRef<Path>) -> bool {
        let path = path.as_ref().as_os_str().as_encoded_bytes();
        self.0.iter().any(|pattern| covers(pattern.as_bytes(), path))
    }
}

fn is_sound(pattern: &str) -> bool {
    let mut names = vec![String::new()];
    let mut rest = pattern.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let name = names.last_mut();
        match (byte, name) {
            (b'/', _) => names.push(String::new()),
            (b'[', Some(name)) => {
                let Some((_, after)) = set(after) else {
                    return false;
                };
                name.push('?');
                rest = after;
                continue;
            }
            (b'{' | b'}' | b']' | b'\\', _) | (_, None) => return false,
            (byte, Some(name)) => name.push(char::from(byte)),
        }
        rest = after;
    }
    names.iter().all(|name| {
        let plain = !matches!(name.as_str(), "" | "." | "..");
        plain && (name == "**" || !name.contains("**"))
    })
}

fn covers(pattern: &[u8], path: &[u8]) -> bool {
    // At the end it stands for what is inside, at any depth; elsewhere also for no folder at all.
    if pattern == b"**" {
        return !path.is_empty();
    }
    if let Some(rest) = pattern.strip_prefix(b"**/") {
        let deeper = path.iter().position(|byte| *byte == b'/');
        return covers(rest, path) || deeper.is_some_and(|end| covers(pattern, &path[end + 1..]));
    }
    let Some((&first, rest)) = pattern.split_first() else {
        return path.is_empty();
    };
    if first == b'*' {
        let name = path.iter().position(|byte| *byte == b'/').unwrap_or(path.len());
        return (0..=name).any(|skipped| covers(rest, &path[skipped..]));
    }
    let Some((&byte, path)) = path.split_first() else {
        return false;
    };
    match first {
        b'?' => byte != b'/' && covers(rest, path),
        b'[' => set(rest).is_some_and(|(set, rest)| byte != b'/' && holds(set, byte) && covers(rest, path)),
        other => other == byte && covers(rest, path),
    }
}

/// Splits what follows a `[` into the set and what follows its `]`.
fn set(pattern: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = pattern.iter().position(|byte| *byte == b']')?;
    let (set, rest) = (&pattern[..end], &pattern[end + 1..]);
    (!matches!(set, b"" | b"!")).then_some((set, rest))
}

fn holds(set: &[u8], byte: u8) -> bool {
    if let Some(others) = set.strip_prefix(b"!") {
        return !holds(others, byte);
    }
    match set {
        [low, b'-', high, rest @ ..] => (low..=high).contains(&&byte) || holds(rest, byte),
        [one, rest @ ..] => *one == byte || holds(rest, byte),
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("src/**", "src/lib.rs", true)]
    #[case("src/**", "src/deep/er/mod.rs", true)]
    #[case("src/**", "src", false)]
    #[case("src/**", "srcs/lib.rs", false)]
    #[case("src/**", "other/src/lib.rs", false)]
    #[case("src/*.rs", "src/lib.rs", true)]
    #[case("src/*.rs", "src/deep/lib.rs", false)]
    #[case("src/*.rs", "src/lib.rsx", false)]
    #[case("src/**/mod.rs", "src/mod.rs", true)]
    #[case("src/**/mod.rs", "src/a/b/mod.rs", true)]
    #[case("src/**/mod.rs", "src/a/b/lib.rs", false)]
    #[case("migrations/000?_*.sql", "migrations/0001_users.sql", true)]
    #[case("migrations/000?_*.sql", "migrations/0011_users.sql", false)]
    #[case("src/[!p]*", "src/lib.rs", true)]
    #[case("src/[!p]*", "src/psp.rs", false)]
    #[case("src/[!p]*", "src/lib/deep.rs", false)]
    #[case("src/psp[!.]*", "src/psp.rs", false)]
    #[case("src/psp[!.]*", "src/pspx.rs", true)]
    #[case("src/api[!/]*", "src/api.rs", true)]
    #[case("src/api[!/]*", "src/api/mod.rs", false)]
    #[case("src/[!d]*/**", "src/wire/mod.rs", true)]
    #[case("src/[!d]*/**", "src/data/mod.rs", false)]
    #[case("src/[a-c1].rs", "src/b.rs", true)]
    #[case("src/[a-c1].rs", "src/1.rs", true)]
    #[case("src/[a-c1].rs", "src/d.rs", false)]
    #[case("deploy/pgbouncer.ini", "deploy/pgbouncer.ini", true)]
    #[case("**", "anything/at/all", true)]
    fn patterns_cover_what_they_say(#[case] pattern: &str, #[case] path: &str, #[case] covered: bool) {
        let globs = Globs::parse(&[pattern.to_owned()]).unwrap();
        assert_eq!(globs.is_match(path), covered);
    }

    #[rstest]
    #[case("/etc/passwd")]
    #[case("../other/**")]
    #[case("src//lib.rs")]
    #[case("src/{a,b}.rs")]
    #[case("src/[ab.rs")]
    #[case("src/[]x")]
    #[case("src/a**")]
    #[case("src/")]
    #[case("")]
    fn strange_patterns_are_refused(#[case] pattern: &str) {
        assert!(Globs::parse(&[pattern.to_owned()]).is_err());
    }
}
