//! The messages a client sends. Text that holds a zero byte is cut there: the protocol can't carry it.

use bytes::{BufMut, BytesMut};

const VERSION_3: i32 = 3 << 16;

pub fn startup(buf: &mut BytesMut, parameters: &[(&str, &str)]) {
    let start = buf.len();
    buf.put_i32(0);
    buf.put_i32(VERSION_3);
    for (name, value) in parameters {
        cstr(buf, name);
        cstr(buf, value);
    }
    buf.put_u8(0);
    length(buf, start);
}

pub fn cancel(buf: &mut BytesMut, pid: i32, key: i32) {
    buf.put_i32(16);
    buf.put_i32(80_877_102);
    buf.put_i32(pid);
    buf.put_i32(key);
}

pub fn password(buf: &mut BytesMut, password: &str) {
    frame(buf, b'p', |body| cstr(body, password));
}

pub fn query(buf: &mut BytesMut, sql: &str) {
    frame(buf, b'Q', |body| cstr(body, sql));
}

/// A Parse that leaves the types of the parameters to the server.
pub fn parse(buf: &mut BytesMut, statement: &str, sql: &str) {
    frame(buf, b'P', |body| {
        cstr(body, statement);
        cstr(body, sql);
        body.put_i16(0);
    });
}

/// A Bind with parameters and results as text.
pub fn bind(buf: &mut BytesMut, portal: &str, statement: &str, parameters: &[Option<&str>]) {
    frame(buf, b'B', |body| {
        cstr(body, portal);
        cstr(body, statement);
        body.put_i16(0);
        body.put_i16(i16::try_from(parameters.len()).unwrap_or(i16::MAX));
        for parameter in parameters.iter().take(i16::MAX as usize) {
            match parameter {
                None => body.put_i32(-1),
                Some(text) => {
                    body.put_i32(i32::try_from(text.len()).unwrap_or(i32::MAX));
                    body.put_slice(text.as_bytes());
                }
            }
        }
        body.put_i16(0);
    });
}

pub fn execute(buf: &mut BytesMut, portal: &str, rows_max: i32) {
    frame(buf, b'E', |body| {
        cstr(body, portal);
        body.put_i32(rows_max);
    });
}

pub fn sync(buf: &mut BytesMut) {
    frame(buf, b'S', |_| {});
}

pub fn copy_data(buf: &mut BytesMut, data: &[u8]) {
    frame(buf, b'd', |body| body.put_slice(data));
}

pub fn copy_done(buf: &mut BytesMut) {
    frame(buf, b'c', |_| {});
}

pub fn copy_fail(buf: &mut BytesMut, reason: &str) {
    frame(buf, b'f', |body| cstr(body, reason));
}

pub fn terminate(buf: &mut BytesMut) {
    frame(buf, b'X', |_| {});
}

fn frame(buf: &mut BytesMut, tag: u8, body: impl FnOnce(&mut BytesMut)) {
    buf.put_u8(tag);
    let start = buf.len();
    buf.put_i32(0);
    body(buf);
    length(buf, start);
}

fn length(buf: &mut BytesMut, start: usize) {
    let len = i32::try_from(buf.len() - start).unwrap_or(i32::MAX);
    buf[start..start + 4].copy_from_slice(&len.to_be_bytes());
}

fn cstr(buf: &mut BytesMut, text: &str) {
    let end = text.bytes().position(|b| b == 0).unwrap_or(text.len());
    buf.put_slice(&text.as_bytes()[..end]);
    buf.put_u8(0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Opening, Request, frame};

    #[test]
    fn what_is_written_reads_back() {
        let mut buf = BytesMut::new();
        parse(&mut buf, "s", "SELECT $1");
        bind(&mut buf, "", "s", &[Some("x"), None]);
        execute(&mut buf, "", 0);
        sync(&mut buf);
        query(&mut buf, "BEGIN\0; DROP TABLE t");
        let mut seen = Vec::new();
        while let Some(frame) = frame::next(&mut buf).unwrap() {
            seen.push(format!("{:?}", Request::decode(frame.tag, &frame.body).unwrap()));
        }
        assert_eq!(
            seen,
            [
                r#"Parse { statement: "s", sql: "SELECT $1", types: [] }"#,
                r#"Bind { portal: "", statement: "s" }"#,
                r#"Execute { portal: "", rows_max: 0 }"#,
                "Sync",
                r#"Query { sql: "BEGIN" }"#,
            ]
        );
    }

    #[test]
    fn openings_read_back() {
        let mut buf = BytesMut::new();
        startup(&mut buf, &[("user", "app"), ("database", "orders")]);
        cancel(&mut buf, 7, -1);
        let Ok(Some(Opening::Startup { parameters, .. })) = Opening::take(&mut buf) else {
            panic!("no startup")
        };
        assert_eq!(parameters[1], ("database".to_string(), "orders".to_string()));
        assert_eq!(
            Opening::take(&mut buf),
            Ok(Some(Opening::Cancel { pid: 7, key: -1 }))
        );
    }
}
