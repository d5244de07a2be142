//! What callgrind writes.

use std::path::Path;

/// Instructions counted between two dumps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dump {
    /// What the program called it.
    pub(super) name: String,
    pub(super) instructions: u64,
}

/// Reads one file: its `desc: Trigger:` line names it, `totals:` (`summary:` before 3.20) has the count.
pub(super) fn parse(text: &str) -> Option<Dump> {
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("desc: Trigger: Client Request: "))?;
    let count = |prefix: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(prefix))?;
        line.split_whitespace().next()?.parse().ok()
    };
    Some(Dump {
        name: name.trim().to_owned(),
        instructions: count("totals:").or_else(|| count("summary:"))?,
    })
}

/// All named dumps in a folder.
pub(super) fn read_all(folder: &Path) -> std::io::Result<Vec<Dump>> {
    let mut dumps = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let bytes = std::fs::read(entry?.path())?;
        dumps.extend(parse(&String::from_utf8_lossy(&bytes)));
    }
    Ok(dumps)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# callgrind format\nversion: 1\ncreator: callgrind-3.19.0\npid: 4711\npart: 2\n\n\
                        desc: Trigger: Client Request: subject\n\npositions: line\nevents: Ir\nsummary: 1234567\n\n\
                        fl=(1) a.rs\nfn=(1) work\n12 1234567\n\ntotals: 1234567\n";

    #[test]
    fn a_dump_has_a_name_and_a_count() {
        let subject = Dump {
            name: "subject".to_owned(),
            instructions: 1_234_567,
        };
        assert_eq!(parse(FILE), Some(subject.clone()));
        let older = FILE.replace("totals: 1234567\n", "");
        assert_eq!(parse(&older), Some(subject));
    }

    #[test]
    fn what_the_tool_writes_at_the_end_is_none_of_ours() {
        assert_eq!(
            parse(&FILE.replace("Client Request: subject", "Program termination")),
            None
        );
        assert_eq!(parse("not by callgrind"), None);
        assert_eq!(parse(&FILE.replace("1234567", "many")), None);
    }
}
