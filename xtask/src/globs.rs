//! Globs of manifests: `**` for any folders, and within a name `*`, `?`, `[abc]`, `[a-z]`, `[!abc]`.

use std::path::Path;

use glob::{MatchOptions, Pattern};

/// `*` and `?` stay within a name.
const WITHIN_NAMES: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// Patterns of paths, relative to one folder.
#[derive(Clone, Debug)]
pub struct Globs(Vec<Pattern>);

impl Globs {
    /// # Errors
    /// A pattern that means something else than the author may think.
    pub fn parse(patterns: &[String]) -> Result<Globs, String> {
        let parsed = patterns.iter().map(|pattern| {
            let parsed = Pattern::new(pattern).ok().filter(|_| is_plain(pattern));
            parsed.ok_or_else(|| {
                format!(
                    "`{pattern}`: expected a path from the exercise's folder, of names with `*`, `?` and `[…]`, and `**` \
                     for any folders"
                )
            })
        });
        parsed.collect::<Result<_, _>>().map(Globs)
    }

    /// Whether one of the patterns covers `path`, all of it.
    pub fn is_match(&self, path: impl AsRef<Path>) -> bool {
        let path = path.as_ref();
        self.0
            .iter()
            .any(|pattern| pattern.matches_path_with(path, WITHIN_NAMES))
    }
}

/// Names from the folder downwards, without what other kinds of globs know.
fn is_plain(pattern: &str) -> bool {
    !pattern.contains(['{', '}', '\\']) && pattern.split('/').all(|name| !matches!(name, "" | "." | ".."))
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
