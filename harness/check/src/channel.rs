//! The check's end of the pipe to its parent.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;

use verdict::wire::{Answer, Event, Job, LINE_BYTES_MAX, Line, VERSION, Wanted};

/// Speaks for one check. Cheap to share: every event is one short line.
pub(crate) struct Channel {
    inner: Mutex<Inner>,
}

struct Inner {
    stream: UnixStream,
    nonce: String,
    next: u64,
}

impl Channel {
    /// Takes over the standard input, reads the job from it, and leaves `/dev/null` in its place, so that neither the
    /// subject nor its children inherit the pipe.
    pub(crate) fn open() -> io::Result<(Channel, Job)> {
        // Duplicates are close-on-exec.
        let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        let null = std::fs::File::open("/dev/null")?;
        nix::unistd::dup2_stdin(&null)?;
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line)?;
        let job: Job = serde_json::from_str(&line)?;
        if job.version != VERSION {
            return Err(io::Error::other(format!(
                "the job speaks version {}, this program version {VERSION}; build it again",
                job.version
            )));
        }
        let inner = Inner {
            stream,
            nonce: job.nonce.clone(),
            next: 0,
        };
        Ok((
            Channel {
                inner: Mutex::new(inner),
            },
            job,
        ))
    }

    /// Asks the parent for a server, and blocks this thread until it answers. One question at a time: the caller sees to
    /// that.
    pub(crate) fn ask(&self, wanted: Wanted) -> io::Result<Answer> {
        let stream = match self.inner.lock() {
            Ok(inner) => inner.stream.try_clone()?,
            Err(_) => return Err(io::Error::other("the pipe to the parent is broken")),
        };
        self.say(Event::Wants { wanted });
        let mut line = String::new();
        // Nothing comes unasked, so that a reader with a buffer of its own takes nothing from the next one.
        BufReader::new(stream.take(LINE_BYTES_MAX as u64)).read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }

    /// Sends an event. A parent that is gone cannot be told so; the parent-death signal ends this process.
    pub(crate) fn say(&self, event: Event) {
        let Ok(mut inner) = self.inner.lock() else { return };
        let line = Line {
            nonce: inner.nonce.clone(),
            number: inner.next,
            event,
        };
        inner.next += 1;
        if let Ok(mut text) = serde_json::to_vec(&line) {
            text.push(b'\n');
            inner.stream.write_all(&text).ok();
        }
    }
}
