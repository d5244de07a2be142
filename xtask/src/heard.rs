//! What cargo says on its standard error while it builds.

/// What cargo is at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Packages that are being compiled.
    pub what: String,
    /// How many units are done, of how many, once cargo tells.
    pub far: Option<(u64, u64)>,
}

impl Step {
    /// The same step on the way to `name`.
    pub fn of(&self, name: &str) -> Step {
        let what = match self.what.as_str() {
            "" => name.to_owned(),
            what => format!("{name}: {what}"),
        };
        Step { what, far: self.far }
    }
}

/// Cargo's standard error, taken apart: its bar and its own words on one side, the compiler's words on the other.
#[derive(Default)]
pub struct Heard {
    diagnostics: String,
    left: Vec<u8>,
}

impl Heard {
    pub fn hear(&mut self, bytes: &[u8], say: &dyn Fn(&Step)) {
        self.left.extend(bytes);
        // A bar is drawn over by a carriage return, a line is ended by a line feed.
        while let Some(end) = self.left.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
            let line: Vec<u8> = self.left.drain(..=end).collect();
            self.line(&String::from_utf8_lossy(&line), say);
        }
    }

    pub fn end(mut self, say: &dyn Fn(&Step)) -> String {
        let left = std::mem::take(&mut self.left);
        self.line(&String::from_utf8_lossy(&left), say);
        self.diagnostics
    }

    fn line(&mut self, line: &str, say: &dyn Fn(&Step)) {
        let told = line.replace(ERASE, "");
        let is_line = told.ends_with('\n');
        let words = told.trim();
        if let Some(step) = step(words) {
            say(&step);
        } else if is_line && !is_chatter(&told) {
            self.diagnostics.push_str(&told);
        } else if !is_line && !words.is_empty() {
            self.diagnostics.push_str(words);
            self.diagnostics.push('\n');
        }
    }
}

/// How a terminal is told to erase the rest of a line.
const ERASE: &str = "\u{1b}[K";

/// `Building [====>    ] 12/30: bytes, tokio(build)` or `Compiling bytes v1.2.3`.
fn step(words: &str) -> Option<Step> {
    if let Some(compiling) = words.strip_prefix("Compiling ") {
        return Some(Step {
            what: compiling.split(" v").next().unwrap_or(compiling).to_owned(),
            far: None,
        });
    }
    let (_, rest) = words.strip_prefix("Building [")?.split_once("] ")?;
    let (far, what) = rest.split_once(':').unwrap_or((rest, ""));
    let (done, of) = far.split_once('/')?;
    Some(Step {
        what: what
            .trim()
            .trim_end_matches("...")
            .trim_end_matches(", ")
            .to_owned(),
        far: Some((done.parse().ok()?, of.parse().ok()?)),
    })
}

fn is_chatter(line: &str) -> bool {
    const WORDS: [&str; 10] = [
        "Compiling ",
        "Finished ",
        "Blocking ",
        "Locking ",
        "Updating ",
        "Downloading ",
        "Downloaded ",
        "Adding ",
        "Fresh ",
        "Dirty ",
    ];
    WORDS.iter().any(|word| line.trim_start().starts_with(word))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn cargos_bar_is_told_and_the_compilers_words_are_kept() {
        let stderr = "   Compiling bytes v1.2.3\n    Building [=>   ] 3/12: bytes, tokio(build)      \r\
                      \r\u{1b}[Kerror[E0609]: no field `x`\n  --> src/lib.rs:1:1\n\n\
                      \u{1b}[K    Building [==>  ] 4/12: tokio\r    Finished `grade` profile in 2s\n";
        let steps = RefCell::new(Vec::new());
        let say = |step: &Step| steps.borrow_mut().push(step.clone());
        let mut heard = Heard::default();
        // Cut at the worst places.
        for byte in stderr.as_bytes() {
            heard.hear(&[*byte], &say);
        }
        let diagnostics = heard.end(&say);
        assert_eq!(
            diagnostics,
            "error[E0609]: no field `x`\n  --> src/lib.rs:1:1\n\n"
        );
        let expected = [
            ("bytes", None),
            ("bytes, tokio(build)", Some((3, 12))),
            ("tokio", Some((4, 12))),
        ];
        let expected = expected.map(|(what, far)| Step {
            what: what.to_owned(),
            far,
        });
        assert_eq!(*steps.borrow(), expected);
    }

    #[test]
    fn a_step_on_the_way_to_something_says_so() {
        let step = Step {
            what: "tokio".to_owned(),
            far: Some((4, 12)),
        };
        assert_eq!(step.of("04 reference").what, "04 reference: tokio");
        assert_eq!(Step::default().of("04 reference").what, "04 reference");
    }
}
