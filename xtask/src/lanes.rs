//! What goes on, while it goes on: on a terminal a line for each kind of work, with a bar where its size is known;
//! elsewhere a plain line now and then. All of it goes to standard error.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// How often somebody without a terminal hears that the same work goes on.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a line is drawn again, so that its clock goes on.
const TICK: Duration = Duration::from_millis(120);

/// A kind of work, in the order of its lines on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    Copy,
    Services,
    Build,
    Checks,
    Rows,
}

impl Lane {
    fn word(self) -> &'static str {
        match self {
            Lane::Copy => "copying",
            Lane::Services => "services",
            Lane::Build => "compiling",
            Lane::Checks => "checks",
            Lane::Rows => "rows",
        }
    }
}

/// How far a piece of work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Far {
    pub done: u64,
    pub of: u64,
}

/// The lines.
pub struct Lanes {
    /// `None` where there is no terminal.
    screen: Option<MultiProgress>,
    bars: RefCell<BTreeMap<Lane, Bar>>,
    said: RefCell<BTreeMap<Lane, Instant>>,
}

struct Bar {
    bar: ProgressBar,
    has_size: bool,
}

impl Lanes {
    pub fn new(terminal: bool) -> Lanes {
        Lanes {
            screen: terminal.then(MultiProgress::new),
            bars: RefCell::default(),
            said: RefCell::default(),
        }
    }

    /// Says what a lane is at.
    pub fn tell(&self, lane: Lane, far: Option<Far>, what: &str) {
        match &self.screen {
            Some(screen) => self.draw(screen, lane, far, what),
            None => {
                let mut said = self.said.borrow_mut();
                if said.get(&lane).is_none_or(|last| last.elapsed() >= PATIENCE) {
                    eprintln!("{}", plain(lane, far, what));
                    said.insert(lane, Instant::now());
                }
            }
        }
    }

    fn draw(&self, screen: &MultiProgress, lane: Lane, far: Option<Far>, what: &str) {
        let mut bars = self.bars.borrow_mut();
        let place = bars.range(..lane).count();
        let line = bars.entry(lane).or_insert_with(|| {
            let bar = screen.insert(place, ProgressBar::new(0).with_prefix(lane.word()));
            bar.set_style(style(far.is_some()));
            bar.enable_steady_tick(TICK);
            Bar {
                bar,
                has_size: far.is_some(),
            }
        });
        if line.has_size != far.is_some() {
            line.bar.set_style(style(far.is_some()));
            line.has_size = far.is_some();
        }
        if let Some(Far { done, of }) = far {
            line.bar.set_length(of);
            line.bar.set_position(done);
        }
        line.bar.set_message(what.to_owned());
    }

    /// A lane's work is done: its line goes.
    pub fn end(&self, lane: Lane) {
        self.said.borrow_mut().remove(&lane);
        if let Some(Bar { bar, .. }) = self.bars.borrow_mut().remove(&lane) {
            bar.finish_and_clear();
            if let Some(screen) = &self.screen {
                screen.remove(&bar);
            }
        }
    }

    /// Prints without the lines in the way.
    pub fn suspend(&self, print: impl FnOnce()) {
        match &self.screen {
            Some(screen) => screen.suspend(print),
            None => print(),
        }
    }

    /// Takes all lines away.
    pub fn quiet(&self) {
        let lanes: Vec<Lane> = self.bars.borrow().keys().copied().collect();
        for lane in lanes {
            self.end(lane);
        }
    }
}

/// No colours, so there is nothing for `NO_COLOR` to take away.
fn style(with_bar: bool) -> ProgressStyle {
    let template = if with_bar {
        "{prefix:<9} {elapsed:>4} [{bar:20}] {pos}/{len} {wide_msg}"
    } else {
        "{prefix:<9} {elapsed:>4} {spinner} {wide_msg}"
    };
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
        .tick_chars("|/-\\ ")
}

fn plain(lane: Lane, far: Option<Far>, what: &str) -> String {
    let far = far
        .map(|Far { done, of }| format!(" {done}/{of}"))
        .unwrap_or_default();
    format!("… {}{far} {what}", lane.word()).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use indicatif::{ProgressDrawTarget, TermLike};

    use super::*;

    /// Keeps what is written, whole, in order.
    #[derive(Clone, Debug, Default)]
    struct Tape(Arc<Mutex<Vec<String>>>);

    impl Tape {
        fn keep(&self, text: &str) -> std::io::Result<()> {
            self.0.lock().unwrap().push(text.to_owned());
            Ok(())
        }

        /// Which written line was the last of a lane's.
        fn last(&self, word: &str) -> Option<usize> {
            let lines = self.0.lock().unwrap();
            lines.iter().rposition(|line| line.starts_with(word))
        }
    }

    impl TermLike for Tape {
        fn width(&self) -> u16 {
            80
        }
        fn move_cursor_up(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn write_line(&self, line: &str) -> std::io::Result<()> {
            self.keep(line)
        }
        fn write_str(&self, text: &str) -> std::io::Result<()> {
            self.keep(text)
        }
        fn clear_line(&self) -> std::io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lanes_keep_their_order_and_fit_80_columns() {
        let tape = Tape::default();
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(tape.clone()), 255);
        let lanes = Lanes {
            screen: Some(MultiProgress::with_draw_target(target)),
            ..Lanes::new(false)
        };
        let far = |done, of| Some(Far { done, of });
        lanes.tell(Lane::Checks, far(3, 14), "04-slow-query");
        lanes.tell(Lane::Build, far(60, 120), &"sqlx-postgres, ".repeat(12));
        lanes.tell(Lane::Services, None, "starting postgres");
        // Drawn whatever was drawn a moment ago.
        for bar in lanes.bars.borrow().values() {
            bar.bar.force_draw();
        }
        let (services, build) = (tape.last("services"), tape.last("compiling"));
        assert!(services < build && build < tape.last("checks"), "{tape:?}");
        let lines = tape.0.lock().unwrap().clone();
        assert!(
            lines.iter().any(|line| line.contains("] 60/120 sqlx-postgres")),
            "{lines:#?}"
        );
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{lines:#?}");
        assert!(!lines.concat().contains('\u{1b}'), "{lines:#?}");
        lanes.quiet();
        assert!(lanes.bars.borrow().is_empty());
    }

    #[test]
    fn without_a_terminal_a_line_says_it_all() {
        let far = Some(Far { done: 37, of: 120 });
        assert_eq!(
            plain(Lane::Build, far, "sqlx-core"),
            "… compiling 37/120 sqlx-core"
        );
        assert_eq!(
            plain(Lane::Services, None, "starting redis"),
            "… services starting redis"
        );
    }
}
