//! From addresses to names.

use std::collections::HashMap;

/// A function on a stack, and where in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    pub function: String,
    pub file: String,
    pub line: u32,
}

/// Addresses that were looked up already.
#[derive(Default)]
pub struct Symbols(HashMap<usize, Vec<Place>>);

impl Symbols {
    /// The functions at a return address, inlined ones first.
    pub fn of(&mut self, address: usize) -> &[Place] {
        self.0.entry(address).or_insert_with(|| {
            let mut places = Vec::new();
            // A return address points behind the call.
            backtrace::resolve(address.saturating_sub(1) as *mut _, |symbol| {
                places.push(Place {
                    function: symbol
                        .name()
                        .map_or_else(|| "?".to_owned(), |name| short(&format!("{name:#}"))),
                    file: symbol
                        .filename()
                        .map(|file| file.to_string_lossy().into_owned())
                        .unwrap_or_default(),
                    line: symbol.lineno().unwrap_or_default(),
                });
            });
            places
        })
    }
}

/// Without what only the compiler needs to tell functions apart.
pub fn short(name: &str) -> String {
    name.replace("::{{closure}}", "::{closure}")
        .replace("core::future::future::Future", "Future")
}

/// Frames of the recording itself, which every stack begins with.
pub fn is_ours(function: &str) -> bool {
    [
        "oncall::heap",
        "harness::alloc",
        "__rustc::",
        "__rust_alloc",
        "__rust_realloc",
        "__rg_",
        "alloc::alloc::",
    ]
    .iter()
    .any(|part| function.contains(part))
}
