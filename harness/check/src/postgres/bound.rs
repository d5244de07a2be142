//! The values that drivers bind to what they have prepared: of each statement those of the last time, for whoever watches it
//! on call and wants its plan.

/// Values of more bytes are not kept.
const BYTES_MAX: usize = 1024;

/// A parameter's value, as it stood on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// PostgreSQL's own format for the type, and not its text.
    pub binary: bool,
    /// `None` is NULL.
    pub bytes: Option<Vec<u8>>,
}

/// The values in the body of a Bind message; `None` when it is cut off, or not what the protocol says.
pub(super) fn values(body: &[u8]) -> Option<Vec<Bound>> {
    let mut rest = Rest(body);
    rest.text()?;
    rest.text()?;
    let formats: Vec<bool> = (0..rest.int16()?)
        .map(|_| rest.int16().map(|format| format == 1))
        .collect::<Option<_>>()?;
    let count = usize::from(rest.int16()?);
    let mut values = Vec::with_capacity(count.min(64));
    for place in 0..count {
        // One format stands for all, and none for text.
        let binary = match formats.as_slice() {
            [] => false,
            [one] => *one,
            some => *some.get(place)?,
        };
        let bytes = match rest.int32()? {
            -1 => None,
            length => {
                let bytes = rest.take(usize::try_from(length).ok()?)?;
                (bytes.len() <= BYTES_MAX).then(|| bytes.to_vec())
            }
        };
        values.push(Bound { binary, bytes });
    }
    Some(values)
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let text = self.take(end)?;
        self.take(1)?;
        Some(text)
    }

    fn int16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn int32(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_with_their_format() {
        let body = b"\0s1\0\0\x01\0\x01\0\x02\0\0\0\x02eu\xff\xff\xff\xff\0\0";
        let values = values(body).unwrap();
        let (binary, null) = (&values[0], &values[1]);
        assert!(binary.binary && binary.bytes.as_deref() == Some(b"eu"));
        assert_eq!(null.bytes, None);
        assert_eq!(super::values(&body[..12]), None);
    }
}
