//! Who a process is, beyond its number: numbers are used again, so "is the owner still alive" needs the start time too.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::str::FromStr;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

/// A process: its number, when it started, and the place where that number means something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Process number.
    pub pid: u32,
    /// Start time in the machine's own unit, with the boot it belongs to; opaque.
    pub started: String,
    /// Host and process namespace; opaque.
    pub place: String,
}

/// What is known of an [`Owner`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It runs.
    Alive,
    /// It ended, whoever has its number now.
    Dead,
    /// It lives on another host or in another container, where this process cannot look.
    Elsewhere,
}

impl Owner {
    /// This process.
    pub fn this() -> &'static Owner {
        static THIS: OnceLock<Owner> = OnceLock::new();
        THIS.get_or_init(|| {
            let pid = std::process::id();
            Owner::of(pid).unwrap_or_else(|| Owner {
                pid,
                started: "unknown".into(),
                place: place(),
            })
        })
    }

    /// The process that has this number now; `None` when there is none, or only a zombie.
    pub fn of(pid: u32) -> Option<Owner> {
        Some(Owner {
            pid,
            started: started(pid)?,
            place: place(),
        })
    }

    /// Whether it still runs.
    pub fn life(&self) -> Life {
        if self.place != place() {
            Life::Elsewhere
        } else if started(self.pid).is_some_and(|started| started == self.started) {
            Life::Alive
        } else {
            Life::Dead
        }
    }
}

/// `pid.started.place`, fit for a file name and for a container's label.
impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.pid, self.started, self.place)
    }
}

impl FromStr for Owner {
    type Err = ();

    fn from_str(word: &str) -> Result<Owner, ()> {
        let mut parts = word.split('.');
        let (Some(pid), Some(started), Some(place), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(());
        };
        let pid = pid.parse().map_err(|_| ())?;
        Ok(Owner {
            pid,
            started: started.to_owned(),
            place: place.to_owned(),
        })
    }
}

#[cfg(target_os = "linux")]
fn started(pid: u32) -> Option<String> {
    static BOOT: OnceLock<String> = OnceLock::new();
    let boot = BOOT.get_or_init(|| {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        id.chars().filter(char::is_ascii_hexdigit).take(8).collect()
    });
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name may hold spaces and brackets; the fields start behind the last bracket.
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
    let state = fields.next()?;
    let ticks = fields.nth(18)?;
    (!matches!(state, "Z" | "X")).then(|| format!("{ticks}-{boot}"))
}

#[cfg(not(target_os = "linux"))]
fn started(pid: u32) -> Option<String> {
    let ps = std::process::Command::new("ps")
        .args(["-o", "stat=,lstart=", "-p", &pid.to_string()])
        .output();
    let line = String::from_utf8(ps.ok()?.stdout).ok()?;
    let (state, since) = line.trim().split_once(char::is_whitespace)?;
    let since: String = since.chars().filter(char::is_ascii_alphanumeric).collect();
    (!state.starts_with('Z')).then_some(since)
}

fn place() -> String {
    let mut hash = DefaultHasher::new();
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .hash(&mut hash);
    std::fs::read_link("/proc/self/ns/pid").ok().hash(&mut hash);
    format!("{:08x}", hash.finish() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn this_process_is_alive_and_survives_its_own_words() {
        let this = Owner::this();
        assert_eq!(this.life(), Life::Alive);
        assert_eq!(this.to_string().parse::<Owner>().as_ref(), Ok(this));
    }

    #[test]
    fn a_number_used_again_is_not_the_owner() {
        let mut owner = Owner::this().clone();
        owner.started = "1-00000000".into();
        assert_eq!(owner.life(), Life::Dead);
    }

    #[test]
    fn another_place_is_not_judged() {
        let mut owner = Owner::this().clone();
        owner.place = "elsewhere".into();
        assert_eq!(owner.life(), Life::Elsewhere);
    }

    #[test]
    fn a_child_that_ended_is_dead_even_before_it_is_reaped() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let owner = Owner::of(child.id()).unwrap();
        assert_eq!(owner.life(), Life::Alive);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(owner.life(), Life::Dead);
    }

    #[test]
    fn broken_words_are_refused() {
        for word in ["", "1", "1.2", "x.2.3", "1.2.3.4"] {
            assert!(word.parse::<Owner>().is_err(), "{word}");
        }
    }
}
