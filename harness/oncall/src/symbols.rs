//! From addresses to names.
//!
//! Names are those of the program's symbols, which are whole paths; files and lines are those of the debug information,
//! which knows functions by their last word only. A function that was inlined is told by its line, within the one that it
//! was inlined into.

use std::collections::HashMap;

use object::{Object, ObjectSegment, SymbolMap, SymbolMapName};

/// A function on a stack, and where in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    pub function: String,
    pub file: String,
    pub line: u32,
}

/// The program's symbols, and addresses that were looked up already.
pub struct Symbols {
    program: Vec<u8>,
    /// What is to be taken from an address to have the program's own.
    moved_by: u64,
    known: HashMap<usize, Place>,
}

impl Default for Symbols {
    fn default() -> Symbols {
        let program = std::fs::read("/proc/self/exe").unwrap_or_default();
        let moved_by = moved_by(&program).unwrap_or_default();
        Symbols {
            program,
            moved_by,
            known: HashMap::new(),
        }
    }
}

impl Symbols {
    /// The functions that these return addresses lie in, in their order. Those that are looked up for the first time cost
    /// some microseconds each, and the first of all some tens of milliseconds.
    pub fn of(&mut self, addresses: impl IntoIterator<Item = usize>) -> Vec<Place> {
        let addresses: Vec<usize> = addresses.into_iter().collect();
        if addresses.iter().any(|address| !self.known.contains_key(address)) {
            let file = object::File::parse(&*self.program).ok();
            let map = file.map(|file| file.symbol_map());
            for address in &addresses {
                if !self.known.contains_key(address) {
                    let place = look_up(*address, self.moved_by, map.as_ref());
                    self.known.insert(*address, place);
                }
            }
        }
        addresses
            .iter()
            .filter_map(|address| self.known.get(address).cloned())
            .collect()
    }
}

fn look_up(address: usize, moved_by: u64, map: Option<&SymbolMap<SymbolMapName<'_>>>) -> Place {
    // A return address points behind the call.
    let within = address.saturating_sub(1);
    let (mut inner, mut file, mut line) = (None, String::new(), 0);
    backtrace::resolve(within as *mut _, |symbol| {
        if let (true, Some(name)) = (file.is_empty(), symbol.filename()) {
            file = name.to_string_lossy().into_owned();
            line = symbol.lineno().unwrap_or_default();
        }
        // The last one is what the others were inlined into.
        inner = symbol.name().map(|name| format!("{name:#}")).or(inner.take());
    });
    let symbol = (within as u64)
        .checked_sub(moved_by)
        .and_then(|own| map?.before(own))
        .map(|symbol| format!("{:#}", backtrace::SymbolName::new(symbol.name().as_bytes())));
    Place {
        function: symbol
            .or(inner)
            .map_or_else(|| "?".to_owned(), |name| short(&name)),
        file,
        line,
    }
}

/// Where the system has put the program, less where it was linked for.
fn moved_by(program: &[u8]) -> Option<u64> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let path = std::fs::read_link("/proc/self/exe").ok()?;
    let path = path.to_string_lossy();
    let first = maps.lines().find(|line| line.ends_with(&*path))?;
    let begin = u64::from_str_radix(first.split('-').next()?, 16).ok()?;
    let linked = object::File::parse(program)
        .ok()?
        .segments()
        .map(|segment| segment.address())
        .min()?;
    begin.checked_sub(linked)
}

/// Without what only the compiler needs to tell functions apart.
fn short(name: &str) -> String {
    name.replace("::{{closure}}", "::{closure}")
}

/// Frames of the recording itself, which every stack begins with.
pub fn is_ours(function: &str) -> bool {
    const OURS: [&str; 8] = [
        "oncall::heap",
        "harness::alloc",
        "__rustc",
        "__rust_alloc",
        "__rust_realloc",
        "__rg_",
        "alloc::alloc::",
        "alloc::raw_vec::",
    ];
    OURS.iter().any(|part| function.contains(part))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[inline(never)]
    fn a_function_of_this_test(stack: &mut [usize]) {
        harness::alloc::sites::walk(stack);
        std::hint::black_box(());
    }

    #[test]
    fn functions_are_told_by_their_whole_path() {
        let mut stack = [0; 8];
        a_function_of_this_test(&mut stack);
        let places = Symbols::default().of(stack);
        assert!(
            places.iter().any(|place| place
                .function
                .ends_with("symbols::tests::a_function_of_this_test")),
            "{places:#?}"
        );
    }
}
