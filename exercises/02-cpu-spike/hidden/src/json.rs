//! JSON texts as values. A parser of its own, because those that the subject may use round numbers and drop keys.

use std::collections::BTreeMap;
use std::fmt;

/// A value as it stands in the text.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    /// Its digits.
    Number(String),
    Text(String),
    List(Vec<Json>),
    /// Keys may occur more than once; the last value counts.
    Object(Vec<(String, Json)>),
}

/// Nesting that the parser follows; the corpus stays far below.
const DEPTH_MAX: usize = 300;

impl Json {
    /// Reads one text, strictly by RFC 8259; half a surrogate pair is no text.
    pub fn parse(text: &[u8]) -> Option<Json> {
        let mut parser = Parser {
            rest: std::str::from_utf8(text).ok()?,
            depth: 0,
        };
        let value = parser.value()?;
        parser.blanks();
        parser.rest.is_empty().then_some(value)
    }

    pub fn get(&self, key: &str) -> Option<&Json> {
        let Json::Object(fields) = self else { return None };
        let last = fields.iter().rev().find(|(name, _)| name == key);
        last.map(|(_, value)| value)
    }

    pub fn text(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value of an integer's digits, for integers that have any.
    pub fn integer(&self) -> Option<i128> {
        match self {
            Json::Number(digits) if !digits.contains(['.', 'e', 'E']) => digits.parse().ok(),
            _ => None,
        }
    }

    /// Where `other` is another value, as `at: this, not that`.
    pub fn differs(&self, other: &Json) -> Option<String> {
        self.differs_at("", other)
    }

    fn differs_at(&self, at: &str, other: &Json) -> Option<String> {
        match (self, other) {
            (Json::Object(_), Json::Object(_)) => {
                let (mine, theirs) = (self.fields(), other.fields());
                let missing = mine
                    .keys()
                    .chain(theirs.keys())
                    .find(|key| mine.contains_key(*key) != theirs.contains_key(*key));
                if let Some(key) = missing {
                    let which = if mine.contains_key(key) {
                        "is missing"
                    } else {
                        "was added"
                    };
                    return Some(format!("{at}/{key} {which}"));
                }
                mine.iter()
                    .find_map(|(key, value)| value.differs_at(&format!("{at}/{key}"), theirs[key]))
            }
            (Json::List(mine), Json::List(theirs)) if mine.len() == theirs.len() => {
                let mut pairs = mine.iter().zip(theirs).enumerate();
                pairs.find_map(|(index, (mine, theirs))| mine.differs_at(&format!("{at}/{index}"), theirs))
            }
            (Json::Number(mine), Json::Number(theirs)) if same_number(mine, theirs) => None,
            (mine, theirs) if mine == theirs => None,
            (mine, theirs) => Some(format!("{at} is {theirs}, not {mine}")),
        }
    }

    fn fields(&self) -> BTreeMap<&str, &Json> {
        match self {
            Json::Object(fields) => fields.iter().map(|(key, value)| (key.as_str(), value)).collect(),
            _ => BTreeMap::new(),
        }
    }
}

/// An integer that 64 bits hold is the same when it is the same integer; any other number when it is the same double.
fn same_number(mine: &str, theirs: &str) -> bool {
    let integer = |digits: &str| Json::Number(digits.to_owned()).integer();
    let exact = i128::from(i64::MIN)..=i128::from(u64::MAX);
    match integer(mine) {
        Some(number) if exact.contains(&number) => integer(theirs) == Some(number),
        _ => {
            let double = |digits: &str| digits.parse::<f64>().map(f64::to_bits);
            mine == theirs || double(mine) == double(theirs)
        }
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Json::Null => f.write_str("null"),
            Json::Bool(value) => write!(f, "{value}"),
            Json::Number(digits) => f.write_str(digits),
            Json::Text(text) => write!(f, "{text:?}"),
            Json::List(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if index > 0 { "," } else { "" })?;
                }
                f.write_str("]")
            }
            Json::Object(fields) => {
                f.write_str("{")?;
                for (index, (key, value)) in fields.iter().enumerate() {
                    write!(f, "{}{key:?}:{value}", if index > 0 { "," } else { "" })?;
                }
                f.write_str("}")
            }
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl Parser<'_> {
    fn blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn eat(&mut self, what: &str) -> bool {
        let after = self.rest.strip_prefix(what);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    /// Eats `what` after blanks.
    fn mark(&mut self, what: &str) -> bool {
        self.blanks();
        self.eat(what)
    }

    fn value(&mut self) -> Option<Json> {
        self.blanks();
        match self.rest.as_bytes().first()? {
            b'{' => self.nested(Parser::object),
            b'[' => self.nested(Parser::list),
            b'"' => self.string().map(Json::Text),
            b'n' => self.eat("null").then_some(Json::Null),
            b't' => self.eat("true").then_some(Json::Bool(true)),
            b'f' => self.eat("false").then_some(Json::Bool(false)),
            _ => self.number(),
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Option<Json>) -> Option<Json> {
        self.depth += 1;
        let value = (self.depth <= DEPTH_MAX).then(|| read(self)).flatten();
        self.depth -= 1;
        value
    }

    fn object(&mut self) -> Option<Json> {
        self.eat("{");
        let mut fields = Vec::new();
        if self.mark("}") {
            return Some(Json::Object(fields));
        }
        loop {
            self.blanks();
            let key = self.string()?;
            if !self.mark(":") {
                return None;
            }
            fields.push((key, self.value()?));
            if self.mark("}") {
                return Some(Json::Object(fields));
            }
            if !self.eat(",") {
                return None;
            }
        }
    }

    fn list(&mut self) -> Option<Json> {
        self.eat("[");
        let mut items = Vec::new();
        if self.mark("]") {
            return Some(Json::List(items));
        }
        loop {
            items.push(self.value()?);
            if self.mark("]") {
                return Some(Json::List(items));
            }
            if !self.eat(",") {
                return None;
            }
        }
    }

    fn string(&mut self) -> Option<String> {
        if !self.eat("\"") {
            return None;
        }
        let mut text = String::new();
        loop {
            let mut chars = self.rest.chars();
            let char = chars.next()?;
            self.rest = chars.as_str();
            match char {
                '"' => return Some(text),
                '\\' => text.push(self.escape()?),
                '\0'..='\x1f' => return None,
                char => text.push(char),
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let char = chars.next()?;
        self.rest = chars.as_str();
        Some(match char {
            '"' | '\\' | '/' => char,
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => return self.unit_pair(),
            _ => return None,
        })
    }

    /// One code point of one or two `\u` units.
    fn unit_pair(&mut self) -> Option<char> {
        let first = self.unit()?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first);
        }
        if !self.eat("\\u") {
            return None;
        }
        let second = self.unit().filter(|unit| (0xdc00..0xe000).contains(unit))?;
        char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00))
    }

    fn unit(&mut self) -> Option<u32> {
        let digits = self.rest.get(..4)?;
        self.rest = &self.rest[4..];
        let all_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        all_hex.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
    }

    fn number(&mut self) -> Option<Json> {
        let text = self.rest;
        self.eat("-");
        if !self.eat("0") {
            self.digits()?;
        }
        if self.eat(".") {
            self.digits()?;
        }
        if self.eat("e") || self.eat("E") {
            let _sign = self.eat("+") || self.eat("-");
            self.digits()?;
        }
        Some(Json::Number(text[..text.len() - self.rest.len()].to_owned()))
    }

    fn digits(&mut self) -> Option<()> {
        let after = self.rest.trim_start_matches(|char: char| char.is_ascii_digit());
        let any = after.len() < self.rest.len();
        self.rest = after;
        any.then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes()).unwrap_or_else(|| panic!("{text} is JSON"))
    }

    #[test]
    fn texts_are_values() {
        for (left, right) in [
            (
                r#"{"a":1,"b":[true,null]}"#,
                " { \"b\" : [ true,null ],\"a\":1 }\n",
            ),
            (r#""\u00e9\ud83d\ude00\/""#, "\"é😀/\""),
            (r#"{"a":0,"a":1}"#, r#"{"a":1}"#),
            ("18446744073709551615", "18446744073709551615"),
            ("1e2", "100.0"),
            ("123456789012345678901234567890", "1.2345678901234568e29"),
        ] {
            assert_eq!(json(left).differs(&json(right)), None, "{left}");
        }
    }

    #[test]
    fn numbers_are_told_apart_to_the_last_bit() {
        for (left, right) in [
            ("9007199254740993", "9007199254740992"),
            ("9007199254740993", "9007199254740993.0"),
            ("18446744073709551615", "1.8446744073709552e19"),
            ("0.1", "0.10000000000000002"),
            ("-0.0", "0.0"),
            ("5", "5.0"),
        ] {
            assert!(json(left).differs(&json(right)).is_some(), "{left}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in [
            "",
            "{",
            "[1,]",
            "01",
            "+1",
            "1.",
            ".5",
            "nul",
            "'a'",
            "\"\\x\"",
            "\"\u{1}\"",
            "\"\\ud800\"",
            "{} {}",
            "NaN",
            "{\"a\"}",
            "{a:1}",
            "[1 2]",
            "\u{feff}1",
            "1e",
            "--1",
            "\"\\u12\"",
        ] {
            assert_eq!(Json::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Json::parse(b"\"\xff\""), None);
    }

    #[test]
    fn a_difference_says_where() {
        let (left, right) = (json(r#"{"a":{"b":[1,2]}}"#), json(r#"{"a":{"b":[1,3]}}"#));
        assert_eq!(left.differs(&right).as_deref(), Some("/a/b/1 is 3, not 2"));
        assert_eq!(
            json("{}").differs(&json(r#"{"k":1}"#)).as_deref(),
            Some("/k was added")
        );
        assert_eq!(
            json(r#"{"k":1}"#).differs(&json("{}")).as_deref(),
            Some("/k is missing")
        );
    }
}
