//! What comes out for what goes in.

use cpu_spike_hidden::corpus::{self, BY_HAND};
use cpu_spike_hidden::model::{Answer, Model};
use cpu_spike_hidden::subject::Reject;
use cpu_spike_hidden::traffic;
use harness::{Check, Failure, Outcome, ensure};

use crate::observe::{answered, pipeline, processed, same};

const EVENTS: usize = 600;

pub async fn corpus(cx: &Check) -> Outcome {
    let rules = corpus::rules();
    let (subject, model) = (pipeline(&rules)?, Model::new(&rules));
    let by_hand = BY_HAND.iter().map(|(raw, _)| raw.as_bytes().to_vec());
    let made = corpus::made(&mut cx.rng("events"), EVENTS);
    for raw in by_hand.chain(made) {
        let expected = model.answer(&raw);
        // Which kind of defect it is, is asked elsewhere.
        if let Answer::Passed(..) = expected {
            answered(
                &subject,
                &model,
                &raw,
                "Verdicts or fields differ from the contract: every field comes out with its value, known or not, of a \
                 key that occurs more than once the last value counts, and rules look at decoded texts.",
            )?;
        } else {
            let (result, _) = processed(&subject, &raw);
            ensure!(
                result.is_err(),
                "What is no event goes no further; skipping validation is a change of the contract.",
                "an event that the contract rejects ({expected:?}) was passed on: {}",
                String::from_utf8_lossy(&raw)
            );
        }
    }
    Ok(())
}

pub async fn numbers(cx: &Check) -> Outcome {
    let rules = traffic::rules();
    let (subject, model) = (pipeline(&rules)?, Model::new(&rules));
    let mut rng = cx.rng("numbers");
    let mut numbers: Vec<String> = (0..200).map(|_| corpus::number(&mut rng)).collect();
    numbers.extend((0..200).map(|_| rng.u64(1 << 53..).to_string()));
    numbers.extend((0..50).map(|_| format!("-{}", rng.u64(1 << 53..1 << 63))));
    for number in [
        "9007199254740993",
        "-9223372036854775808",
        "18446744073709551615",
        "0",
        "1.0",
        "100",
        "1E2",
    ] {
        numbers.push(number.to_owned());
    }
    for number in numbers {
        let id = rng.u64(1 << 60..);
        let at = rng.u64(..);
        for raw in [
            format!(r#"{{"id":{id},"tenant":"t","at":{at},"n":{number},"body":{{"path":"/","agent":"a"}}}}"#),
            format!(
                r#"{{"id":{id},"tenant":"t","at":{at},"body":{{"path":"/","agent":"a","n":[{number},{{"n":{number}}}]}}}}"#
            ),
        ] {
            answered(
                &subject,
                &model,
                raw.as_bytes(),
                "Integers above 2^53 changed value, or a double lost its last bit: a number that only passes through has \
                 to come out as it went in.",
            )?;
        }
    }
    for amount in [i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX, rng.i64(1 << 53..)] {
        let raw = format!(r#"{{"id":1,"tenant":"t","at":2,"body":{{"amount":{amount},"currency":"XAU"}}}}"#);
        answered(
            &subject,
            &model,
            raw.as_bytes(),
            "An amount is an integer of 64 bits, and stays one.",
        )?;
    }
    Ok(())
}

pub async fn rejections(cx: &Check) -> Outcome {
    let rules = corpus::rules();
    let (subject, model) = (pipeline(&rules)?, Model::new(&rules));
    let because = "`Malformed` is what is no JSON text, `Invalid` what is JSON and no event; nothing is appended for either.";
    let by_hand = BY_HAND.iter().map(|(raw, _)| raw.as_bytes().to_vec());
    let made = corpus::made(&mut cx.rng("events"), EVENTS);
    let mut rejected = [0; 2];
    for raw in by_hand.chain(made) {
        if let Answer::Rejected(reject) = model.answer(&raw) {
            rejected[usize::from(reject == Reject::Invalid)] += 1;
            answered(&subject, &model, &raw, because)?;
        }
    }
    for text in ["null", "7", "\"text\"", "[]", "true", " {} "] {
        rejected[1] += 1;
        answered(&subject, &model, text.as_bytes(), because)?;
    }
    if rejected.contains(&0) {
        return Err(Failure::environment("the corpus has nothing to reject"));
    }
    Ok(())
}

pub async fn appended(cx: &Check) -> Outcome {
    let rules = traffic::rules();
    let (subject, model) = (pipeline(&rules)?, Model::new(&rules));
    let mut rng = cx.rng("events");
    let mut out = Vec::new();
    let mut ends = Vec::new();
    let events = traffic::events(&mut rng, 200);
    let mut results = Vec::new();
    for (index, raw) in events.iter().enumerate() {
        if index % 5 == 4 {
            let before = out.len();
            let reject = subject.process(&raw[..raw.len() - 1], &mut out);
            ensure!(
                reject.is_err() && out.len() == before,
                "Of an event that is rejected nothing is written, not even its beginning.",
                "{} bytes were appended for an event that was cut short ({reject:?})",
                out.len() as i64 - before as i64
            );
        }
        results.push(subject.process(raw, &mut out));
        ends.push(out.len());
    }
    let mut begin = 0;
    for ((raw, result), end) in events.iter().zip(results).zip(ends) {
        ensure!(
            begin <= end && end <= out.len(),
            "`process` appends to the caller's buffer; what is in it belongs to the caller.",
            "after 200 events in one buffer, one of them ended before it began"
        );
        same(
            &model.answer(raw),
            result,
            &out[begin..end],
            raw,
            "Events that are written to one buffer one after the other must all be there at the end; `process` appends.",
        )?;
        begin = end;
    }
    Ok(())
}
