//! The check's end of the pipe to its parent.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Write};
use std::ops::Range;
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
    nonce: Masked,
    next: u64,
}

/// The nonce, as nobody finds it who looks through this process's memory for hexadecimal digits. Whoever looks for this, in
/// this place, still does: what runs in a process has no secrets from the rest of it.
struct Masked {
    masked: Vec<u8>,
    pad: Vec<u8>,
}

/// Where the nonce begins in a line.
const NONCE_AT: usize = br#"{"nonce":""#.len();

impl Masked {
    fn new(nonce: String) -> Masked {
        let mut nonce = nonce.into_bytes();
        let keys = RandomState::new();
        let pad: Vec<u8> = (0..nonce.len()).map(|at| keys.hash_one(at) as u8).collect();
        let masked = nonce.iter().zip(&pad).map(|(byte, pad)| byte ^ pad).collect();
        wipe(&mut nonce);
        Masked { masked, pad }
    }

    /// Where the nonce stands in a line.
    fn place(&self) -> Range<usize> {
        NONCE_AT..NONCE_AT + self.masked.len()
    }

    fn write_to(&self, place: &mut [u8]) {
        for (place, (masked, pad)) in place.iter_mut().zip(self.masked.iter().zip(self.pad.iter())) {
            *place = masked ^ pad;
        }
    }
}

/// Leaves nothing for whoever gets this memory next.
fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    std::hint::black_box(bytes);
}

/// A line, read into one piece of memory. Nothing comes behind it unasked.
fn line_of(mut stream: &UnixStream) -> io::Result<Vec<u8>> {
    let mut line = vec![0; LINE_BYTES_MAX];
    let mut len = 0;
    while len < line.len() && line[..len].last() != Some(&b'\n') {
        match stream.read(&mut line[len..])? {
            0 => break,
            read => len += read,
        }
    }
    line.truncate(len);
    Ok(line)
}

impl Channel {
    /// Takes over the standard input, reads the job from it, and leaves `/dev/null` in its place, so that neither the
    /// subject nor its children inherit the pipe.
    pub(crate) fn open() -> io::Result<(Channel, Job)> {
        // Duplicates are close-on-exec.
        let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        let null = std::fs::File::open("/dev/null")?;
        nix::unistd::dup2_stdin(&null)?;
        let mut line = line_of(&stream)?;
        let job = serde_json::from_slice::<Job>(&line);
        wipe(&mut line);
        let mut job = job?;
        if job.version != VERSION {
            return Err(io::Error::other(format!(
                "the job speaks version {}, this program version {VERSION}; build it again",
                job.version
            )));
        }
        let inner = Inner {
            stream,
            nonce: Masked::new(std::mem::take(&mut job.nonce)),
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
        Ok(serde_json::from_slice(&line_of(&stream)?)?)
    }

    /// Sends an event. A parent that is gone cannot be told so; the parent-death signal ends this process.
    pub(crate) fn say(&self, event: Event) {
        let Ok(mut inner) = self.inner.lock() else { return };
        let line = Line {
            nonce: "-".repeat(inner.nonce.masked.len()),
            number: inner.next,
            event,
        };
        inner.next += 1;
        if let Ok(mut text) = serde_json::to_vec(&line) {
            text.push(b'\n');
            let place = inner.nonce.place();
            inner.nonce.write_to(&mut text[place.clone()]);
            inner.stream.write_all(&text).ok();
            wipe(&mut text[place]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_carries_the_nonce_and_memory_does_not() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let nonce = "0123456789abcdef0123456789abcdef";
        let masked = Masked::new(nonce.to_owned());
        assert!(
            !masked
                .masked
                .windows(4)
                .any(|part| nonce.as_bytes().windows(4).any(|other| part == other))
        );
        let channel = Channel {
            inner: Mutex::new(Inner {
                stream: theirs,
                nonce: masked,
                next: 7,
            }),
        };
        channel.say(Event::Ended);
        let line: Line = serde_json::from_slice(&line_of(&ours).unwrap()).unwrap();
        assert_eq!((line.nonce.as_str(), line.number), (nonce, 7));
    }
}
