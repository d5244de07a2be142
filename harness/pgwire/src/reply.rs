//! What a server sends.

use crate::frame::{Fields, FrameError};
use std::borrow::Cow;
use std::fmt;

/// A typed view of a server's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply<'a> {
    Authentication(Authentication),
    KeyData {
        pid: i32,
        key: i32,
    },
    ParameterStatus {
        name: Cow<'a, str>,
        value: Cow<'a, str>,
    },
    ParseComplete,
    BindComplete,
    CloseComplete,
    NoData,
    ParameterDescription,
    /// The columns' names.
    RowDescription(Vec<Cow<'a, str>>),
    /// Fields by [`fields`].
    DataRow,
    PortalSuspended,
    /// The command's tag, as in `INSERT 0 1`.
    CommandComplete(Cow<'a, str>),
    EmptyQuery,
    Error(ServerError),
    Notice,
    CopyIn,
    CopyOut,
    Ready(Transaction),
    Other(u8),
}

/// How the server wants to be convinced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    Ok,
    CleartextPassword,
    /// Any other method, by its number in the protocol.
    Other(i32),
}

/// What state the session is in when the server is ready for the next command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transaction {
    None,
    Open,
    Failed,
}

/// An error that the server reported.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerError {
    pub severity: String,
    /// Five characters, as in `23505`.
    pub sqlstate: String,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
}

impl<'a> Reply<'a> {
    /// Reads a message whose body is complete.
    pub fn decode(tag: u8, body: &'a [u8]) -> Result<Reply<'a>, FrameError> {
        let mut fields = Fields(body);
        Ok(match tag {
            b'R' => Reply::Authentication(match fields.i32("authentication method")? {
                0 => Authentication::Ok,
                3 => Authentication::CleartextPassword,
                other => Authentication::Other(other),
            }),
            b'K' => Reply::KeyData {
                pid: fields.i32("process id")?,
                key: fields.i32("secret key")?,
            },
            b'S' => Reply::ParameterStatus {
                name: String::from_utf8_lossy(fields.cstr("parameter name")?),
                value: String::from_utf8_lossy(fields.cstr("parameter value")?),
            },
            b'1' => Reply::ParseComplete,
            b'2' => Reply::BindComplete,
            b'3' => Reply::CloseComplete,
            b'n' => Reply::NoData,
            b't' => Reply::ParameterDescription,
            b'T' => Reply::RowDescription(columns(&mut fields)?),
            b'D' => Reply::DataRow,
            b's' => Reply::PortalSuspended,
            b'C' => Reply::CommandComplete(String::from_utf8_lossy(fields.cstr("command tag")?)),
            b'I' => Reply::EmptyQuery,
            b'E' => Reply::Error(ServerError::decode(body)?),
            b'N' => Reply::Notice,
            b'G' => Reply::CopyIn,
            b'H' => Reply::CopyOut,
            b'Z' => Reply::Ready(match fields.u8("transaction status")? {
                b'T' => Transaction::Open,
                b'E' => Transaction::Failed,
                _ => Transaction::None,
            }),
            other => Reply::Other(other),
        })
    }
}

/// The fields of a DataRow: `None` is NULL.
pub fn fields(body: &[u8]) -> Result<Vec<Option<&[u8]>>, FrameError> {
    let mut rest = Fields(body);
    let n = rest.i16("number of fields")?;
    (0..n)
        .map(|_| match rest.i32("length of a field")? {
            -1 => Ok(None),
            length => match usize::try_from(length) {
                Ok(len) => rest.take(len, "field").map(Some),
                Err(_) => Err(FrameError::Length(i64::from(length))),
            },
        })
        .collect()
}

fn columns<'a>(fields: &mut Fields<'a>) -> Result<Vec<Cow<'a, str>>, FrameError> {
    let n = fields.i16("number of columns")?;
    (0..n)
        .map(|_| {
            let name = fields.cstr("column name")?;
            // Table, attribute, type, its size, its modifier, the format.
            fields.take(4 + 2 + 4 + 2 + 4 + 2, "column")?;
            Ok(String::from_utf8_lossy(name))
        })
        .collect()
}

impl ServerError {
    /// Reads the body of an ErrorResponse or a NoticeResponse.
    pub fn decode(body: &[u8]) -> Result<ServerError, FrameError> {
        let mut fields = Fields(body);
        let mut error = ServerError::default();
        loop {
            let code = fields.u8("error field")?;
            if code == 0 {
                return Ok(error);
            }
            let value = String::from_utf8_lossy(fields.cstr("error field")?).into_owned();
            match code {
                // `V` is `S` untranslated, and comes after it.
                b'S' | b'V' => error.severity = value,
                b'C' => error.sqlstate = value,
                b'M' => error.message = value,
                b'D' => error.detail = Some(value),
                b'H' => error.hint = Some(value),
                _ => {}
            }
        }
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.sqlstate)?;
        for more in [&self.detail, &self.hint].into_iter().flatten() {
            write!(f, "; {more}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ServerError {}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::trusted(b'R', b"\0\0\0\0", Reply::Authentication(Authentication::Ok))]
    #[case::password(b'R', b"\0\0\0\x03", Reply::Authentication(Authentication::CleartextPassword))]
    #[case::scram(
        b'R',
        b"\0\0\0\x0aSCRAM-SHA-256\0\0",
        Reply::Authentication(Authentication::Other(10))
    )]
    #[case::key(b'K', b"\0\0\0\x07\0\0\0\x09", Reply::KeyData { pid: 7, key: 9 })]
    #[case::done(b'C', b"INSERT 0 1\0", Reply::CommandComplete("INSERT 0 1".into()))]
    #[case::idle(b'Z', b"I", Reply::Ready(Transaction::None))]
    #[case::open(b'Z', b"T", Reply::Ready(Transaction::Open))]
    #[case::failed(b'Z', b"E", Reply::Ready(Transaction::Failed))]
    #[case::columns(
        b'T',
        b"\0\x02a\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0bc\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0",
        Reply::RowDescription(vec!["a".into(), "bc".into()])
    )]
    #[case::unknown(b'v', b"", Reply::Other(b'v'))]
    fn good(#[case] tag: u8, #[case] body: &[u8], #[case] expected: Reply<'_>) {
        assert_eq!(Reply::decode(tag, body), Ok(expected));
    }

    #[rstest]
    #[case::authentication(b'R', b"\0\0", "authentication method")]
    #[case::ready(b'Z', b"", "transaction status")]
    #[case::tag(b'C', b"SELECT 1", "command tag")]
    #[case::columns(b'T', b"\0\x01a\0\0\0", "column")]
    #[case::error(b'E', b"SERROR\0C23505\0", "error field")]
    fn bad(#[case] tag: u8, #[case] body: &[u8], #[case] what: &'static str) {
        assert_eq!(Reply::decode(tag, body), Err(FrameError::Truncated(what)));
    }

    #[test]
    fn an_error_tells_what_a_reader_wants() {
        let body = b"SFEHLER\0VERROR\0C23505\0Mduplicate key\0DKey (id)=(1) exists.\0Fnbtinsert.c\0\0";
        let error = ServerError::decode(body).unwrap();
        assert_eq!(
            (error.severity.as_str(), error.sqlstate.as_str()),
            ("ERROR", "23505")
        );
        assert_eq!(error.to_string(), "duplicate key (23505); Key (id)=(1) exists.");
    }

    #[rstest]
    #[case::none(b"\0\0", Ok(vec![]))]
    #[case::null_and_text(b"\0\x02\xff\xff\xff\xff\0\0\0\x02hi", Ok(vec![None, Some(&b"hi"[..])]))]
    #[case::short(b"\0\x01\0\0\0\x05hi", Err(FrameError::Truncated("field")))]
    #[case::negative(b"\0\x01\xff\xff\xff\xfe", Err(FrameError::Length(-2)))]
    fn rows(#[case] body: &[u8], #[case] expected: Result<Vec<Option<&[u8]>>, FrameError>) {
        assert_eq!(fields(body), expected);
    }
}
