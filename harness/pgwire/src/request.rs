//! What a client sends after the opening packet.

use crate::frame::{Fields, FrameError};
use std::borrow::Cow;

/// A typed view of a client's message; names and SQL borrow from its body (copied only where they are not UTF-8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request<'a> {
    /// The simple protocol: one or more statements and their replies, then one "ready".
    Query {
        sql: Cow<'a, str>,
    },
    Parse {
        statement: Cow<'a, str>,
        sql: Cow<'a, str>,
        /// The types of the parameters as object ids; 0 and what is missing are left to the server.
        types: Vec<u32>,
    },
    Bind {
        portal: Cow<'a, str>,
        statement: Cow<'a, str>,
    },
    Describe(Target<'a>),
    Execute {
        portal: Cow<'a, str>,
        /// 0 means all rows.
        rows_max: i32,
    },
    Close(Target<'a>),
    Sync,
    Flush,
    CopyData,
    CopyDone,
    CopyFail,
    /// The answer to an authentication request, whatever its kind.
    Password,
    FunctionCall,
    Terminate,
    /// A tag that no client of version 3 sends.
    Other(u8),
}

/// What a Describe or a Close speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target<'a> {
    Statement(Cow<'a, str>),
    Portal(Cow<'a, str>),
}

impl<'a> Request<'a> {
    /// Reads a message. For a Bind the beginning of the body is enough (the names stand first, the values of the
    /// parameters after them); [`FrameError::Truncated`] then means that more is needed.
    pub fn decode(tag: u8, body: &'a [u8]) -> Result<Request<'a>, FrameError> {
        let mut fields = Fields(body);
        let mut text = |what| fields.cstr(what).map(String::from_utf8_lossy);
        Ok(match tag {
            b'Q' => Request::Query { sql: text("SQL")? },
            b'P' => {
                let (statement, sql) = (text("statement name")?, text("SQL")?);
                Request::Parse {
                    statement,
                    sql,
                    types: types(&mut fields)?,
                }
            }
            b'B' => Request::Bind {
                portal: text("portal name")?,
                statement: text("statement name")?,
            },
            b'E' => Request::Execute {
                portal: text("portal name")?,
                rows_max: fields.i32("row limit")?,
            },
            b'D' => Request::Describe(target(&mut fields)?),
            b'C' => Request::Close(target(&mut fields)?),
            b'S' => Request::Sync,
            b'H' => Request::Flush,
            b'd' => Request::CopyData,
            b'c' => Request::CopyDone,
            b'f' => Request::CopyFail,
            b'p' => Request::Password,
            b'F' => Request::FunctionCall,
            b'X' => Request::Terminate,
            other => Request::Other(other),
        })
    }
}

fn types(fields: &mut Fields<'_>) -> Result<Vec<u32>, FrameError> {
    let n = fields.i16("number of parameters")?;
    (0..n)
        .map(|_| fields.i32("type of a parameter").map(i32::cast_unsigned))
        .collect()
}

fn target<'a>(fields: &mut Fields<'a>) -> Result<Target<'a>, FrameError> {
    let kind = fields.u8("kind of target")?;
    let name = String::from_utf8_lossy(fields.cstr("name of target")?);
    match kind {
        b'S' => Ok(Target::Statement(name)),
        b'P' => Ok(Target::Portal(name)),
        _ => Err(FrameError::Truncated("kind of target")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::query(b'Q', b"SELECT 1\0", Request::Query { sql: "SELECT 1".into() })]
    #[case::parse(b'P', b"s1\0SELECT $1\0\0\x01\0\0\0\x19", Request::Parse { statement: "s1".into(), sql: "SELECT $1".into(), types: vec![25] })]
    #[case::parse_unnamed(b'P', b"\0BEGIN\0\0\0", Request::Parse { statement: "".into(), sql: "BEGIN".into(), types: vec![] })]
    #[case::bind_prefix(b'B', b"p\0s1\0\0\x01", Request::Bind { portal: "p".into(), statement: "s1".into() })]
    #[case::execute(b'E', b"p\0\0\0\0\x05", Request::Execute { portal: "p".into(), rows_max: 5 })]
    #[case::describe(b'D', b"Ss1\0", Request::Describe(Target::Statement("s1".into())))]
    #[case::close(b'C', b"Pp\0", Request::Close(Target::Portal("p".into())))]
    #[case::sync(b'S', b"", Request::Sync)]
    #[case::copy(b'd', b"1\t2\n", Request::CopyData)]
    #[case::terminate(b'X', b"", Request::Terminate)]
    #[case::unknown(b'y', b"?", Request::Other(b'y'))]
    fn good(#[case] tag: u8, #[case] body: &[u8], #[case] expected: Request<'_>) {
        assert_eq!(Request::decode(tag, body), Ok(expected));
    }

    #[rstest]
    #[case::query(b'Q', b"SELECT 1", "SQL")]
    #[case::parse(b'P', b"s1\0SELECT", "SQL")]
    #[case::parse_types(b'P', b"s1\0SELECT\0\0\x01\0", "type of a parameter")]
    #[case::bind(b'B', b"p\0s", "statement name")]
    #[case::execute(b'E', b"p\0\0\0", "row limit")]
    #[case::describe_nothing(b'D', b"", "kind of target")]
    #[case::describe_what(b'D', b"Xs\0", "kind of target")]
    fn bad(#[case] tag: u8, #[case] body: &[u8], #[case] what: &'static str) {
        assert_eq!(Request::decode(tag, body), Err(FrameError::Truncated(what)));
    }

    #[test]
    fn sql_in_another_encoding_is_shown_as_well_as_it_can_be() {
        let Ok(Request::Query { sql }) = Request::decode(b'Q', b"SELECT '\xe9'\0") else {
            panic!("no query")
        };
        assert_eq!(sql, "SELECT '\u{fffd}'");
    }
}
