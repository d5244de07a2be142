//! What a check's process said, believed only as far as it is complete and in order.

use std::collections::BTreeMap;

use verdict::wire::{Event, Judgement, Line, Site, Stuck, Wanted};

/// Why a metric may be what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The misconception.
    pub because: String,
    /// What was seen.
    pub evidence: Vec<String>,
}

/// Listens to one check. Everything that does not carry the nonce and the next number counts against the submission:
/// the harness never says such a thing.
#[derive(Debug)]
pub struct Transcript {
    nonce: String,
    check: String,
    next: u64,
    pub deadline_ms: Option<u64>,
    pub stage: Option<String>,
    pub measured: BTreeMap<String, f64>,
    pub sites: BTreeMap<String, Vec<Site>>,
    pub explained: BTreeMap<String, Explanation>,
    /// A server that it waits for; to be taken and answered.
    pub wanted: Option<Wanted>,
    /// Per metric, how it was measured.
    pub methods: BTreeMap<String, String>,
    pub stuck: Option<Stuck>,
    pub judgement: Option<Judgement>,
    pub ended: bool,
}

impl Transcript {
    pub fn new(nonce: String, check: String) -> Transcript {
        Transcript {
            nonce,
            check,
            next: 0,
            deadline_ms: None,
            stage: None,
            measured: BTreeMap::new(),
            sites: BTreeMap::new(),
            explained: BTreeMap::new(),
            wanted: None,
            methods: BTreeMap::new(),
            stuck: None,
            judgement: None,
            ended: false,
        }
    }

    /// Takes one line.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence for the report.
    pub fn hear(&mut self, text: &[u8]) -> Result<(), String> {
        let line: Line = serde_json::from_slice(text).map_err(|_| {
            format!(
                "something else than the check wrote to its pipe: {}",
                excerpt(text)
            )
        })?;
        if line.nonce != self.nonce {
            return Err(format!(
                "a line on the check's pipe did not carry its nonce: {}",
                excerpt(text)
            ));
        }
        if line.number != self.next || self.ended {
            return Err(format!(
                "the check's pipe carried line {} where line {} was due",
                line.number, self.next
            ));
        }
        self.next += 1;
        match line.event {
            Event::Started { check, deadline_ms } if self.deadline_ms.is_none() && check == self.check => {
                self.deadline_ms = Some(deadline_ms);
            }
            Event::Stage { doing } if self.open() => self.stage = Some(doing),
            Event::Measured { metric, value } if self.open() && value.is_finite() && value >= 0.0 => {
                self.measured.insert(metric, value);
            }
            Event::Measured { metric, value } if self.open() && value < 0.0 => {
                // Live bytes may fall below the baseline; nobody is below nothing.
                self.measured.insert(metric, 0.0);
            }
            Event::Sites { metric, sites } if self.open() => {
                self.sites.insert(metric, sites);
            }
            Event::Explained {
                metric,
                because,
                evidence,
            } if self.open() => {
                self.explained.insert(metric, Explanation { because, evidence });
            }
            Event::Wants { wanted } if self.open() && self.wanted.is_none() => self.wanted = Some(wanted),
            Event::Method { metric, how } if self.open() => {
                self.methods.insert(metric, how);
            }
            Event::Stuck(stuck) if self.open() => self.stuck = Some(stuck),
            Event::Judged(judgement) if self.open() => self.judgement = Some(judgement),
            Event::Ended if self.judgement.is_some() => self.ended = true,
            event => {
                return Err(format!(
                    "the check's pipe carried an event out of turn: {event:?}"
                ));
            }
        }
        Ok(())
    }

    fn open(&self) -> bool {
        self.deadline_ms.is_some() && self.judgement.is_none() && self.stuck.is_none()
    }
}

fn excerpt(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(&text[..text.len().min(80)])
        .escape_debug()
        .to_string();
    format!("\"{text}\"")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use verdict::Verdict;

    use super::*;

    fn line(nonce: &str, number: u64, event: Event) -> Vec<u8> {
        serde_json::to_vec(&Line {
            nonce: nonce.into(),
            number,
            event,
        })
        .unwrap()
    }

    fn started() -> Event {
        Event::Started {
            check: "kept".into(),
            deadline_ms: 1000,
        }
    }

    fn stuck() -> Event {
        Event::Stuck(Stuck {
            observed: "no call returned for 6 s".into(),
            because: None,
            evidence: vec![],
        })
    }

    fn passed() -> Event {
        Event::Judged(Judgement {
            verdict: Verdict::Pass,
            observed: String::new(),
            because: None,
            evidence: vec![],
        })
    }

    #[test]
    fn a_complete_conversation_is_believed() {
        let mut transcript = Transcript::new("n".into(), "kept".into());
        let events = [
            started(),
            Event::Measured {
                metric: "m".into(),
                value: 3.0,
            },
            passed(),
            Event::Ended,
        ];
        for (number, event) in events.into_iter().enumerate() {
            transcript.hear(&line("n", number as u64, event)).unwrap();
        }
        assert!(transcript.ended);
        assert_eq!(transcript.measured["m"], 3.0);
    }

    #[rstest]
    #[case::no_json(vec![b"test result: ok. 1 passed".to_vec()])]
    #[case::another_nonce(vec![line("x", 0, started())])]
    #[case::a_gap(vec![line("n", 1, started())])]
    #[case::a_repeat(vec![line("n", 0, started()), line("n", 0, passed())])]
    #[case::stuck_before_started(vec![line("n", 0, stuck())])]
    #[case::judged_after_it_was_stuck(vec![line("n", 0, started()), line("n", 1, stuck()), line("n", 2, passed())])]
    #[case::stuck_after_it_was_judged(vec![line("n", 0, started()), line("n", 1, passed()), line("n", 2, stuck())])]
    #[case::judged_before_started(vec![line("n", 0, passed())])]
    #[case::ended_without_judgement(vec![line("n", 0, started()), line("n", 1, Event::Ended)])]
    #[case::judged_twice(vec![line("n", 0, started()), line("n", 1, passed()), line("n", 2, passed())])]
    #[case::another_check(vec![line("n", 0, Event::Started { check: "other".into(), deadline_ms: 1 })])]
    #[case::measured_after_judged(vec![
        line("n", 0, started()), line("n", 1, passed()), line("n", 2, Event::Measured { metric: "m".into(), value: 0.0 }),
    ])]
    #[case::talking_after_the_end(vec![
        line("n", 0, started()), line("n", 1, passed()), line("n", 2, Event::Ended), line("n", 3, Event::Ended),
    ])]
    fn anything_else_is_not(#[case] lines: Vec<Vec<u8>>) {
        let mut transcript = Transcript::new("n".into(), "kept".into());
        let heard: Result<Vec<()>, String> = lines.iter().map(|line| transcript.hear(line)).collect();
        assert!(heard.is_err());
    }
}
