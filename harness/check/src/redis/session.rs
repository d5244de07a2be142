//! What a tap knows of one connection: which commands wait for a reply, and which of the server's words are one.

use super::counts::{Command, Counts, is_data};
use super::resp::Value;
use super::rule::Request;
use bytes::Bytes;
use std::collections::{HashSet, VecDeque};

/// How much of an argument is remembered.
const ARG_LEN_MAX: usize = 1024;

#[derive(Debug)]
pub(super) struct Session {
    connection: u64,
    frames: u64,
    pending: VecDeque<Pending>,
    /// Subscriptions, each with its kind's first letter: `S`, `P`, or `D` for sharded ones.
    channels: HashSet<(u8, Bytes)>,
    muted: Muted,
}

/// Whether the client wants to hear replies (`CLIENT REPLY`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Muted {
    No,
    Next,
    Yes,
}

/// A command that has arrived.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub command: Command,
    /// Up to which rule it has been asked about; `u64::MAX` once all have been.
    pub asked: u64,
    /// What the server will say to it.
    replies: usize,
}

impl Pending {
    pub fn request(&self) -> Request<'_> {
        Request {
            connection: self.command.connection,
            frame: self.command.frame,
            name: &self.command.name,
            args: &self.command.args,
            data: self.command.data,
        }
    }
}

impl Session {
    pub fn new(connection: u64) -> Session {
        Session {
            connection,
            frames: 0,
            pending: VecDeque::new(),
            channels: HashSet::new(),
            muted: Muted::No,
        }
    }

    /// A command has arrived; an empty line is none.
    pub fn arrived(&mut self, args: Vec<Bytes>, counts: &mut Counts) -> Option<Pending> {
        let name = String::from_utf8_lossy(args.first()?).to_ascii_uppercase();
        self.frames += 1;
        let replies = self.replies(&name, &args);
        let command = Command {
            connection: self.connection,
            frame: self.frames,
            data: is_data(&name),
            name,
            args: args.into_iter().map(short).collect(),
        };
        counts.command_arrived(&command);
        Some(Pending {
            command,
            asked: 0,
            replies,
        })
    }

    /// The command is passed on.
    pub fn sent(&mut self, pending: &Pending, counts: &mut Counts) {
        if pending.replies == 0 {
            counts.in_flight -= 1;
            return;
        }
        self.pending.push_back(Pending {
            asked: 0,
            ..pending.clone()
        });
    }

    /// The command that these words of the server belong to; `None` for what it says unasked.
    pub fn answering(&mut self, value: &Value) -> Option<&mut Pending> {
        let front = self.pending.front_mut()?;
        let subscription = front.command.name.ends_with("SUBSCRIBE");
        let word = value.parts().first().and_then(Value::text).unwrap_or_default();
        let unasked = match value {
            // Version 3 confirms subscriptions as if unasked.
            Value::Push(_) => !(subscription && word.eq_ignore_ascii_case(front.command.name.as_bytes())),
            Value::Array(_) => {
                !self.channels.is_empty() && matches!(word, b"message" | b"pmessage" | b"smessage")
            }
            _ => false,
        };
        (!unasked).then_some(front)
    }

    /// Words of the server are passed on, or lost.
    pub fn replied(&mut self, value: &Value, counts: &mut Counts) {
        let Some(front) = self.answering(value) else {
            counts.pushes += 1;
            return;
        };
        front.replies -= 1;
        let over = front.replies == 0 || matches!(value, Value::Error(_));
        if let Value::Error(text) = value {
            let word = text.split(' ').next().unwrap_or_default();
            *counts.errors.entry(word.to_owned()).or_default() += 1;
        }
        if over {
            self.pending.pop_front();
            counts.in_flight -= 1;
        }
    }

    /// The connection is over: nothing more will be answered.
    pub fn end(&mut self, counts: &mut Counts) {
        counts.in_flight -= self.pending.len() as u64;
        self.pending.clear();
    }

    /// How many replies the command will have.
    fn replies(&mut self, name: &str, args: &[Bytes]) -> usize {
        let word = |n: usize| {
            args.get(n)
                .map(|arg| arg.to_ascii_uppercase())
                .unwrap_or_default()
        };
        if name == "CLIENT" && word(1) == b"REPLY" {
            self.muted = match word(2).as_slice() {
                b"OFF" => Muted::Yes,
                b"SKIP" => Muted::Next,
                _ => Muted::No,
            };
            return usize::from(self.muted == Muted::No);
        }
        match self.muted {
            Muted::No => {}
            Muted::Yes => return 0,
            Muted::Next => {
                self.muted = Muted::No;
                return 0;
            }
        }
        let (kind, leave) = match name {
            "SUBSCRIBE" => (b'S', false),
            "PSUBSCRIBE" => (b'P', false),
            "SSUBSCRIBE" => (b'D', false),
            "UNSUBSCRIBE" => (b'S', true),
            "PUNSUBSCRIBE" => (b'P', true),
            "SUNSUBSCRIBE" => (b'D', true),
            _ => return 1,
        };
        let channels = args[1..].iter().map(|channel| (kind, channel.clone()));
        match (leave, args.len()) {
            (false, n) => {
                self.channels.extend(channels);
                n - 1
            }
            (true, 1) => {
                let before = self.channels.len();
                self.channels.retain(|(of, _)| *of != kind);
                (before - self.channels.len()).max(1)
            }
            (true, n) => {
                for channel in channels {
                    self.channels.remove(&channel);
                }
                n - 1
            }
        }
    }
}

fn short(arg: Bytes) -> Bytes {
    if arg.len() <= ARG_LEN_MAX {
        arg
    } else {
        Bytes::copy_from_slice(&arg[..ARG_LEN_MAX])
    }
}

#[cfg(test)]
mod tests;
