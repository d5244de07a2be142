//! Reads JSON a byte at a time. `None` everywhere means: this is no JSON text, or one that is nested too deep.

use std::borrow::Cow;

use crate::event::decoded;

const DEPTH_MAX: usize = 200;

pub(crate) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

/// A value, as far as anybody wants to know.
#[derive(Clone, Debug)]
pub(crate) enum Value<'a> {
    Text(Cow<'a, str>),
    /// Without fraction and exponent, and not `-0`.
    Integer(&'a str),
    Object,
    Other,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str) -> Scanner<'a> {
        Scanner { text, at: 0 }
    }

    /// Whether an object begins here; if so, its brace is read.
    pub(crate) fn opens_object(&mut self) -> bool {
        self.blanks();
        self.eat(b'{')
    }

    /// The first key of the object that has been opened, with its colon; `Some(None)` if it is empty.
    pub(crate) fn first_key(&mut self) -> Option<Option<Cow<'a, str>>> {
        self.blanks();
        if self.eat(b'}') {
            return Some(None);
        }
        self.key().map(Some)
    }

    /// After a value: the next key, with its colon, or the end of the object.
    pub(crate) fn next_key(&mut self) -> Option<Option<Cow<'a, str>>> {
        self.blanks();
        if self.eat(b'}') {
            return Some(None);
        }
        self.expect(b',')?;
        self.blanks();
        self.key().map(Some)
    }

    /// A value inside of so many levels.
    pub(crate) fn value(&mut self, depth: usize) -> Option<Value<'a>> {
        self.blanks();
        let from = self.at;
        match self.peek()? {
            b'"' => {
                let escaped = self.string()?;
                decoded(&self.text[from..self.at], escaped).map(Value::Text)
            }
            b'-' | b'0'..=b'9' => {
                let integer = self.number()?;
                let digits = &self.text[from..self.at];
                Some(if integer && digits != "-0" { Value::Integer(digits) } else { Value::Other })
            }
            _ => self.skip(depth).map(|()| Value::Other),
        }
    }

    pub(crate) fn skip(&mut self, depth: usize) -> Option<()> {
        self.blanks();
        match self.peek()? {
            b'"' => self.string().map(|_| ()),
            b'-' | b'0'..=b'9' => self.number().map(|_| ()),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            b'[' if depth < DEPTH_MAX => {
                self.at += 1;
                self.blanks();
                if self.eat(b']') {
                    return Some(());
                }
                loop {
                    self.skip(depth + 1)?;
                    self.blanks();
                    if self.eat(b']') {
                        return Some(());
                    }
                    self.expect(b',')?;
                }
            }
            b'{' if depth < DEPTH_MAX => {
                self.at += 1;
                self.blanks();
                if self.eat(b'}') {
                    return Some(());
                }
                loop {
                    self.blanks();
                    self.string()?;
                    self.blanks();
                    self.expect(b':')?;
                    self.skip(depth + 1)?;
                    self.blanks();
                    if self.eat(b'}') {
                        return Some(());
                    }
                    self.expect(b',')?;
                }
            }
            _ => None,
        }
    }

    pub(crate) fn end(&mut self) -> Option<()> {
        self.blanks();
        (self.at == self.text.len()).then_some(())
    }

    fn key(&mut self) -> Option<Cow<'a, str>> {
        let from = self.at;
        let escaped = self.string()?;
        let key = decoded(&self.text[from..self.at], escaped)?;
        self.blanks();
        self.expect(b':')?;
        Some(key)
    }

    /// Whether there are escapes in it.
    fn string(&mut self) -> Option<bool> {
        self.expect(b'"')?;
        let bytes = self.text.as_bytes();
        let mut escaped = false;
        loop {
            match *bytes.get(self.at)? {
                b'"' => {
                    self.at += 1;
                    return Some(escaped);
                }
                b'\\' => {
                    escaped = true;
                    match *bytes.get(self.at + 1)? {
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 2,
                        b'u' => {
                            let digits = bytes.get(self.at + 2..self.at + 6)?;
                            if !digits.iter().all(u8::is_ascii_hexdigit) {
                                return None;
                            }
                            self.at += 6;
                        }
                        _ => return None,
                    }
                }
                0..=0x1f => return None,
                _ => self.at += 1,
            }
        }
    }

    /// Whether it is written as an integer.
    fn number(&mut self) -> Option<bool> {
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        let mut integer = true;
        if self.eat(b'.') {
            integer = false;
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            integer = false;
            let _ = self.eat(b'+') || self.eat(b'-');
            self.digits()?;
        }
        Some(integer)
    }

    fn digits(&mut self) -> Option<()> {
        let from = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > from).then_some(())
    }

    fn word(&mut self, word: &str) -> Option<()> {
        let found = self.text.as_bytes()[self.at..].starts_with(word.as_bytes());
        self.at += word.len();
        found.then_some(())
    }

    fn blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.eat(byte).then_some(())
    }
}
