//! Events as nobody would send them on purpose: made from a seed, and by hand.

mod by_hand;

pub use by_hand::BY_HAND;
use fastrand::Rng;

use crate::subject::{Action, RuleSpec};
use crate::traffic::rule;

/// Rules that look at everything the corpus plays with.
pub fn rules() -> Vec<RuleSpec> {
    use Action::{Block, Flag};
    vec![
        rule("admin", "body.path", "^/admin", Flag),
        rule("says \"no\"\\\u{1}", "note", "(?i)\\bnein\\b", Block),
        rule("Zürich 🏔", "geo.city", "^Zürich$", Flag),
        rule("any note", "note", "", Flag),
        rule("any number", "id", ".*", Block),
        rule("tab or quote", "body.agent", "[\t\"]", Flag),
        rule("emoji", "body.user", r"\p{Extended_Pictographic}", Block),
        rule("euro", "body.currency", "^EUR$", Flag),
        rule("admin", "tenant", "^admin$", Flag),
        rule("longest", "tenant", "^.{20,}$", Flag),
        rule("slash", "body.note", "^/$", Flag),
        rule("whole body", "body", ".*", Block),
        rule("a name with a dot", "body.a.b", "^yes$", Block),
    ]
}

/// `count` events: most of them valid, some of them broken in one place.
pub fn made(rng: &mut Rng, count: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|_| {
            // One defect per event, so that there is one right answer.
            let is_broken = rng.u32(..5) == 0;
            let text = Maker { rng }.event(!is_broken);
            match is_broken {
                true => broken(rng, &text),
                false => text.into_bytes(),
            }
        })
        .collect()
}

/// Valid JSON up to one place.
fn broken(rng: &mut Rng, text: &str) -> Vec<u8> {
    let text = text.trim_end();
    let tail = &text[..text.len() - 1];
    let put = |what: &str| format!("{tail}{what}}}").into_bytes();
    match rng.u32(..14) {
        0 | 1 => {
            let mut cut = rng.usize(1..text.len());
            while !text.is_char_boundary(cut) {
                cut -= 1;
            }
            text.as_bytes()[..cut.max(1)].to_vec()
        }
        2 => format!("{text}x").into_bytes(),
        3 => format!("{text}{text}").into_bytes(),
        4 => put(","),
        5 => put(r#","n":01"#),
        6 => put(r#","n":1."#),
        7 => put(r#","n":NaN"#),
        8 => put(r#","n":"\x41""#),
        9 => put(",\"n\":\"\n\""),
        10 => put(",'n':1"),
        11 => put(r#","tenant":"\ud83d""#),
        12 => [tail.as_bytes(), b",\"n\":\"\xff\"}"].concat(),
        _ => put(r#","n":[1 2]"#),
    }
}

/// Writes events, each in a way of its own.
struct Maker<'a> {
    rng: &'a mut Rng,
}

impl Maker<'_> {
    fn event(&mut self, may_be_invalid: bool) -> String {
        let mut fields = vec![
            ("id", self.integer(false)),
            ("tenant", self.tenant()),
            ("at", self.integer(false)),
            ("body", self.body()),
        ];
        if may_be_invalid && self.one_in(10) {
            // One required field is missing or of another type.
            let spoilt = self.rng.usize(..fields.len());
            match self.one_in(2) {
                true => drop(fields.remove(spoilt)),
                false => fields[spoilt].1 = self.pick(&["null", "-1", "1.5", "\"\"", "[]", "true", "{}"]),
            }
        }
        for key in ["note", "geo.city", "extra", "gatekeeper", "rules", ""] {
            if self.one_in(3) {
                fields.push((key, self.unknown()));
            }
        }
        self.rng.shuffle(&mut fields);
        self.repeat_some(&mut fields);
        let event = self.object(fields);
        let (before, after) = (self.blank(), self.blank());
        format!("{before}{event}{after}")
    }

    /// Some keys come twice; what comes first is overruled.
    fn repeat_some(&mut self, fields: &mut Vec<(&'static str, String)>) {
        for _ in 0..2 {
            if self.one_in(4) && !fields.is_empty() {
                let (key, _) = fields[self.rng.usize(..fields.len())];
                let first = match self.one_in(2) {
                    true => self.unknown(),
                    false => self.pick(&["{}", "\"admin\"", "0", "null"]),
                };
                fields.insert(0, (key, first));
            }
        }
    }

    fn body(&mut self) -> String {
        let mut fields = match self.rng.u32(..4) {
            0 => vec![("amount", self.integer(true)), ("currency", self.text())],
            1 => vec![("user", self.text()), ("ip", self.text())],
            _ => vec![("path", self.text()), ("agent", self.text())],
        };
        if self.one_in(4) {
            // Of another kind as well, or almost.
            let amount = self.pick(&[
                "\"12\"",
                "7",
                "7.5",
                "null",
                "9223372036854775808",
                "-9223372036854775808",
            ]);
            fields.extend([("amount", amount), ("currency", "\"EUR\"".to_owned())]);
        }
        for key in ["note", "path", "user", "extra"] {
            if self.one_in(5) {
                fields.push((key, self.unknown()));
            }
        }
        self.rng.shuffle(&mut fields);
        self.repeat_some(&mut fields);
        self.object(fields)
    }

    fn object(&mut self, fields: Vec<(&str, String)>) -> String {
        let mut text = String::from("{");
        for (index, (key, value)) in fields.into_iter().enumerate() {
            let (comma, key) = (if index > 0 { "," } else { "" }, self.quoted(key));
            let (a, b, c) = (self.blank(), self.blank(), self.blank());
            text.push_str(&format!("{comma}{a}{key}{b}:{c}{value}"));
        }
        text + self.blank() + "}"
    }

    fn tenant(&mut self) -> String {
        let tenant = self
            .rng
            .choice(["acme", "admin", "a tenant with a long name", "🏔"]);
        self.quoted(tenant.unwrap_or("acme"))
    }

    fn text(&mut self) -> String {
        let text = self.rng.choice([
            "",
            "/",
            "/admin/x",
            "EUR",
            "nein",
            "Nein, danke",
            "neine",
            "tab\there",
            "\"quoted\"",
            "back\\slash",
            "Zürich",
            "line\nline",
            "é",
            "日本",
            "👩‍🚀 in orbit",
            "\u{7f}\u{2028}",
            "plain text of some length",
        ]);
        self.quoted(text.unwrap_or("/"))
    }

    /// A value that the schema does not know.
    fn unknown(&mut self) -> String {
        match self.rng.u32(..8) {
            0 | 1 => self.text(),
            2 => self.integer(true),
            3 => number(self.rng),
            4 => {
                let (a, b) = (number(self.rng), self.text());
                format!("[{a},{b},[],{{}}]")
            }
            5 => {
                let (a, b, c) = (number(self.rng), self.integer(true), self.text());
                self.object(vec![("a", a), ("b", b), ("a", c), ("", "false".to_owned())])
            }
            6 => self.pick(&["true", "false", "null"]),
            _ => {
                let depth = self.rng.usize(1..60);
                format!("{}{}", "[".repeat(depth), "]".repeat(depth))
            }
        }
    }

    fn integer(&mut self, signed: bool) -> String {
        if signed && self.one_in(3) {
            return self.pick(&["-9223372036854775808", "-9007199254740993", "-1"]);
        }
        match self.rng.u32(..4) {
            0 => self.pick(&[
                "0",
                "9007199254740993",
                "9223372036854775807",
                "18446744073709551615",
            ]),
            1 if !signed => self.rng.u64(..).to_string(),
            _ => self.rng.u32(..100_000).to_string(),
        }
    }

    /// A text in quotes, some of its characters escaped, in one way or another.
    fn quoted(&mut self, text: &str) -> String {
        let mut quoted = String::from("\"");
        for char in text.chars() {
            let must = matches!(char, '"' | '\\' | '\0'..='\x1f');
            match char {
                '"' | '\\' | '/' if self.one_in(2) => quoted.extend(['\\', char]),
                '\n' if self.one_in(2) => quoted.push_str("\\n"),
                '\t' if self.one_in(2) => quoted.push_str("\\t"),
                char if must || self.one_in(20) => {
                    for unit in char.encode_utf16(&mut [0; 2]) {
                        let hex = format!("\\u{unit:04x}");
                        quoted.push_str(&if self.one_in(2) {
                            hex.replace("\\u", "\u{0}").to_uppercase().replace('\u{0}', "\\u")
                        } else {
                            hex
                        });
                    }
                }
                char => quoted.push(char),
            }
        }
        quoted + "\""
    }

    fn blank(&mut self) -> &'static str {
        match self.rng.u32(..12) {
            0 => " ",
            1 => "\n",
            2 => "\t \r\n",
            _ => "",
        }
    }

    fn pick(&mut self, choices: &[&str]) -> String {
        choices[self.rng.usize(..choices.len())].to_owned()
    }

    fn one_in(&mut self, times: u32) -> bool {
        self.rng.u32(..times) == 0
    }
}

/// A number that is no integer of 64 bits.
pub fn number(rng: &mut Rng) -> String {
    match rng.u32(..6) {
        0 => format!(
            "{:?}",
            f64::from_bits(rng.u64(..) & !(0x7ff << 52) | (rng.u64(1..0x7fe) << 52))
        ),
        1 => format!("{}.{}e{}", rng.u32(1..10), rng.u64(..), rng.i32(-290..290)),
        2 => format!("{}{}", rng.u64(1 << 63..), rng.u64(1 << 63..)),
        3 => ["-0.0", "0.1", "1E2", "5e-324", "1.7976931348623157e308", "2.5e+3"][rng.usize(..6)].to_owned(),
        4 => format!("-{}.5", rng.u32(..)),
        _ => format!("0.{:017}", rng.u64(..100_000_000_000_000_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Json;
    use crate::model::{Answer, Model};
    use crate::subject::Reject;

    #[test]
    fn the_model_gives_what_was_worked_out_by_hand() {
        let model = Model::new(&rules());
        for (raw, expected) in BY_HAND {
            let told = match model.answer(raw.as_bytes()) {
                Answer::Passed(_, event) => {
                    let found = event.get("gatekeeper").cloned().unwrap_or(Json::Null);
                    let word = |key| found.get(key).and_then(Json::text).unwrap_or_default().to_owned();
                    format!("{} {}", word("kind"), word("verdict"))
                }
                Answer::Rejected(Reject::Invalid) => "invalid".to_owned(),
                Answer::Rejected(Reject::Malformed) => "malformed".to_owned(),
                Answer::Rejected(Reject::TooLarge) => "too large".to_owned(),
            };
            assert_eq!(told, expected, "{raw}");
        }
    }

    #[test]
    fn a_corpus_has_some_of_everything() {
        let model = Model::new(&rules());
        let corpus = made(&mut Rng::with_seed(1), 2000);
        let answers: Vec<Answer> = corpus.iter().map(|raw| model.answer(raw)).collect();
        let of = |wanted: &dyn Fn(&Answer) -> bool| answers.iter().filter(|answer| wanted(answer)).count();
        assert!(of(&|answer| matches!(answer, Answer::Passed(..))) > 1000);
        assert!(of(&|answer| *answer == Answer::Rejected(Reject::Malformed)) > 200);
        assert!(of(&|answer| *answer == Answer::Rejected(Reject::Invalid)) > 50);
        for verdict in ["pass", "flag", "block"] {
            let told = of(&|answer| match answer {
                Answer::Passed(_, event) => event
                    .get("gatekeeper")
                    .and_then(|found| found.get("verdict"))
                    .and_then(Json::text)
                    .is_some_and(|word| word == verdict),
                Answer::Rejected(_) => false,
            });
            assert!(told > 30, "{verdict}: {told}");
        }
    }
}
