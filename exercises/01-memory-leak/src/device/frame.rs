//! Frames, as gateways send them; all numbers are big-endian.
//!
//! ```text
//! frame  := site_len:u8 site record*
//! record := packed:u8 name_len:u8 name header_len:u8 header body_len:u32 body
//! ```
//!
//! A plain body is one byte per sample; a packed one is runs of `length:u16 sample:u8`.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;

use super::DeviceId;

/// The longest header of a record.
pub const HEADER_BYTES_MAX: usize = 64;

/// A gateway's batch, taken apart. Ranges are positions in the batch.
#[derive(Debug)]
pub struct Frame {
    pub site: String,
    pub records: Vec<Record>,
}

#[derive(Debug)]
pub struct Record {
    pub device: DeviceId,
    pub packed: bool,
    pub header: Range<usize>,
    pub body: Range<usize>,
}

/// The batch is no frame: `at` is where it stops making sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    pub at: usize,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed batch at byte {}", self.at)
    }
}

impl std::error::Error for Malformed {}

impl Frame {
    pub fn parse(batch: &[u8]) -> Result<Frame, Malformed> {
        let mut reader = Reader { batch, at: 0 };
        let len = reader.u8()?;
        let site = reader.text(len)?.to_owned();
        let mut records = Vec::new();
        while reader.at < batch.len() {
            let packed = reader.u8()? != 0;
            let len = reader.u8()?;
            let device = DeviceId::new(&site, reader.text(len)?);
            let len = usize::from(reader.u8()?);
            if len > HEADER_BYTES_MAX {
                return Err(Malformed { at: reader.at - 1 });
            }
            let header = reader.take(len)?;
            let len = reader.take(4)?;
            let len = batch[len]
                .iter()
                .fold(0, |len, byte| len << 8 | usize::from(*byte));
            let body = reader.take(len)?;
            records.push(Record {
                device,
                packed,
                header,
                body,
            });
        }
        Ok(Frame { site, records })
    }
}

struct Reader<'a> {
    batch: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<Range<usize>, Malformed> {
        let begin = self.at;
        if self.batch.len() - begin < len {
            return Err(Malformed { at: begin });
        }
        self.at += len;
        Ok(begin..self.at)
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.batch[self.take(1)?.start])
    }

    fn text(&mut self, len: u8) -> Result<&'a str, Malformed> {
        let range = self.take(len.into())?;
        let at = range.start;
        std::str::from_utf8(&self.batch[range]).map_err(|_| Malformed { at })
    }
}

/// Appends the samples of a packed body. Like the vendor's own codec, it panics on a run that is cut short.
pub fn unpack(body: &[u8], samples: &mut Vec<u8>) {
    for run in body.chunks(3) {
        let len = u16::from_be_bytes([run[0], run[1]]);
        samples.resize(samples.len() + usize::from(len), run[2]);
    }
}

/// Builds a frame, the way a gateway does.
#[derive(Clone, Debug)]
pub struct FrameBuilder {
    frame: Vec<u8>,
}

impl FrameBuilder {
    /// # Panics
    /// With a site of more than 255 bytes; likewise below for names.
    pub fn new(site: &str) -> FrameBuilder {
        let mut frame = Vec::new();
        push_short(&mut frame, site.as_bytes());
        FrameBuilder { frame }
    }

    /// Adds a record with a plain body.
    pub fn plain(self, name: &str, header: &[u8], body: &[u8]) -> FrameBuilder {
        self.record(0, name, header, body)
    }

    /// Adds a record whose body is packed already.
    pub fn packed(self, name: &str, header: &[u8], body: &[u8]) -> FrameBuilder {
        self.record(1, name, header, body)
    }

    fn record(mut self, packed: u8, name: &str, header: &[u8], body: &[u8]) -> FrameBuilder {
        self.frame.push(packed);
        push_short(&mut self.frame, name.as_bytes());
        push_short(&mut self.frame, header);
        let len = u32::try_from(body.len()).expect("a body fits its length");
        self.frame.extend_from_slice(&len.to_be_bytes());
        self.frame.extend_from_slice(body);
        self
    }

    pub fn build(self) -> Bytes {
        self.frame.into()
    }
}

fn push_short(frame: &mut Vec<u8>, bytes: &[u8]) {
    frame.push(u8::try_from(bytes.len()).expect("a short field fits one byte"));
    frame.extend_from_slice(bytes);
}
