//! Passwords that live as long as a run.

use std::fs::File;
use std::io::Read;

/// A random password of 128 bits, in characters that need no quoting anywhere.
pub(crate) fn password() -> String {
    let mut bytes = [0u8; 16];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .expect("the system has randomness");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// In double quotes, as PgBouncer's user file wants it.
pub(crate) fn quoted(word: &str) -> String {
    format!("\"{}\"", word.replace('"', "\"\""))
}
