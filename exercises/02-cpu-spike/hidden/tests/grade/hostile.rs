//! Events that were made to hurt.

use std::fmt::Write;

use cpu_spike_hidden::model::{Model, excerpt};
use cpu_spike_hidden::subject::{Action, MAX_EVENT_BYTES, Pipeline, Reject};
use cpu_spike_hidden::traffic;
use harness::{Check, Failure, OrObserved, Outcome};

use crate::observe::{answered, pipeline, processed};

/// What a tokio worker's stack has.
const STACK_BYTES: usize = 2 << 20;

pub async fn rejected(cx: &Check) -> Outcome {
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
    std::thread::scope(|scope| {
        let judged = thread
            .spawn_scoped(scope, || judge(cx))
            .map_err(|error| Failure::environment(format!("failed to start a thread: {error}")))?;
        judged
            .join()
            .ok()
            .or_observed("process() panicked on a hostile event")?
    })
}

fn judge(cx: &Check) -> Outcome {
    let rules = traffic::rules();
    let (subject, model) = (pipeline(&rules)?, Model::new(&rules));
    cx.stage("events as large as they may be, and larger");
    for (raw, because) in large() {
        answered(&subject, &model, raw.as_bytes(), because)?;
    }
    refused(
        &subject,
        &with("x", &format!("\"{}\"", "a".repeat(1 << 20))),
        &[Reject::TooLarge],
    )?;
    refused(&subject, &"[".repeat(1 << 20), &[Reject::TooLarge])?;

    cx.stage("half a surrogate pair in a text that only a rule looks at");
    half_a_pair()?;

    cx.stage("64 levels");
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        // The event itself is the first.
        let value = format!("{}1{}", open.repeat(63), close.repeat(63));
        answered(
            &subject,
            &model,
            with("x", &value).as_bytes(),
            "Events nested 64 deep are events like others.",
        )?;
    }
    for depth in [1_000, 10_000] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"\":", "}]")] {
            cx.stage(format!("{depth} levels of {open}"));
            let nest = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            let unclosed = open.repeat(depth);
            let either = [Reject::Malformed, Reject::Invalid];
            for raw in [with("x", &nest), with("zz", &nest), in_body(&nest)] {
                if raw.len() <= MAX_EVENT_BYTES {
                    refused(&subject, &raw, &[Reject::Malformed])?;
                }
            }
            // More than one thing is wrong with these.
            for raw in [
                nest.clone(),
                unclosed.clone(),
                with("x", &unclosed),
                with("tenant", &nest),
                with("body", &nest),
            ] {
                if raw.len() <= MAX_EVENT_BYTES {
                    refused(&subject, &raw, &either)?;
                }
            }
        }
    }
    Ok(())
}

/// A text that cannot be decoded is no text that a rule does not hold for: then it would be the way past every rule.
fn half_a_pair() -> Outcome {
    let rules = [
        traffic::rule("a note", "note", "sqlmap", Action::Block),
        traffic::rule("a mark", "body.mark", "sqlmap", Action::Flag),
    ];
    let subject = pipeline(&rules)?;
    for (note, mark) in [(r#""\ud800 sqlmap""#, r#""""#), (r#""""#, r#""sqlmap \udc00""#)] {
        let raw = format!(
            r#"{{"id":1,"tenant":"t","at":2,"note":{note},"body":{{"path":"/","agent":"x","mark":{mark}}}}}"#
        );
        let (result, out) = processed(&subject, raw.as_bytes());
        if result != Err(Reject::Malformed) || !out.is_empty() {
            return Err(Failure::new(format!("the answer was {result:?}, not Malformed"))
                .because(
                    "A field that a rule looks at is a text, or the event is no event: what cannot be decoded is a way past every \
                     rule otherwise.",
                )
                .evidence(format!("the event: {raw}")));
        }
    }
    Ok(())
}

fn refused(subject: &Pipeline, raw: &str, rejects: &[Reject]) -> Outcome {
    let (result, out) = processed(subject, raw.as_bytes());
    if result.is_err_and(|reject| rejects.contains(&reject)) && out.is_empty() {
        return Ok(());
    }
    let because = if raw.len() > MAX_EVENT_BYTES {
        "What is too large is rejected before anybody reads it."
    } else {
        "A value that nobody looks into is passed on as it is, and whoever parses it next recurses: nesting has a bound here."
    };
    Err(
        Failure::new(format!("the answer was {result:?}, not one of {rejects:?}"))
            .because(because)
            .evidence(format!("the event: {}", excerpt(raw.as_bytes()))),
    )
}

/// Valid events at the edge.
fn large() -> Vec<(String, &'static str)> {
    let edge = "An event of exactly `MAX_EVENT_BYTES` is processed; one byte more is too large.";
    let fill = |bytes: usize| {
        let room = bytes - with("x", "\"\"").len();
        with("x", &format!("\"{}\"", "a".repeat(room)))
    };
    let mut many = String::new();
    for key in 0..3000 {
        write!(many, "\"key-{key}\":{key},").ok();
    }
    let escapes = format!("\"{}\"", "\\u0041\\n".repeat(7000));
    vec![
        (fill(MAX_EVENT_BYTES), edge),
        (fill(MAX_EVENT_BYTES + 1), edge),
        (
            with("x", "1").replacen('{', &format!("{{{many}"), 1),
            "Events may have any number of fields.",
        ),
        (
            with("x", &escapes),
            "Escapes are no defect, however many there are.",
        ),
        (
            in_body("1").replacen("\"/\"", &escapes, 1),
            "Escapes are no defect, however many there are.",
        ),
    ]
}

/// A valid event with one more field.
fn with(key: &str, value: &str) -> String {
    format!(r#"{{"id":1,"tenant":"t","at":2,"body":{{"path":"/","agent":"a"}},"{key}":{value}}}"#)
}

fn in_body(value: &str) -> String {
    format!(r#"{{"id":1,"tenant":"t","at":2,"body":{{"path":"/","agent":"a","x":{value}}}}}"#)
}
