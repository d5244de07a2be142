//! Values as they stood on the wire, as text that SQL can be written with. Of PostgreSQL's own formats those are read that
//! drivers use for what services ask by: numbers, text, times, identifiers.

use harness::postgres::Bound;

/// Days from 1970 to 2000, when PostgreSQL's times begin.
const DAYS_TO_2000: i64 = 10_957;
const DAY_US: i64 = 86_400_000_000;

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Null,
    Text(String),
    Unreadable,
}

/// The values by the types that were declared for them, as object ids.
pub fn texts(types: &[u32], bound: &[Bound]) -> Vec<Value> {
    let values = bound.iter().enumerate();
    values
        .map(|(place, value)| match &value.bytes {
            None => Value::Null,
            Some(bytes) => {
                let oid = types.get(place).copied().unwrap_or_default();
                match text(oid, value.binary, bytes) {
                    Some(text) => Value::Text(text),
                    None => Value::Unreadable,
                }
            }
        })
        .collect()
}

fn text(oid: u32, binary: bool, bytes: &[u8]) -> Option<String> {
    const TEXTS: [u32; 6] = [0, 19, 25, 1042, 1043, 114];
    if !binary || TEXTS.contains(&oid) {
        return String::from_utf8(bytes.to_vec()).ok();
    }
    Some(match oid {
        16 => (*bytes.first()? != 0).to_string(),
        20 => i64::from_be_bytes(bytes.try_into().ok()?).to_string(),
        21 => i16::from_be_bytes(bytes.try_into().ok()?).to_string(),
        23 => i32::from_be_bytes(bytes.try_into().ok()?).to_string(),
        700 => f32::from_be_bytes(bytes.try_into().ok()?).to_string(),
        701 => f64::from_be_bytes(bytes.try_into().ok()?).to_string(),
        1082 => date(i32::from_be_bytes(bytes.try_into().ok()?).into()),
        1114 => moment(i64::from_be_bytes(bytes.try_into().ok()?)),
        1184 => format!("{}+00", moment(i64::from_be_bytes(bytes.try_into().ok()?))),
        // `\\x…`, and the digits of a uuid without its hyphens.
        17 => format!("\\x{}", hex(bytes)),
        2950 => hex(bytes),
        // A version, and the text.
        3802 => String::from_utf8(bytes.get(1..)?.to_vec()).ok()?,
        _ => return None,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Microseconds since 2000.
fn moment(us: i64) -> String {
    let (days, left) = (us.div_euclid(DAY_US), us.rem_euclid(DAY_US));
    let (seconds, us) = (left / 1_000_000, left % 1_000_000);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!(
        "{} {hours:02}:{minutes:02}:{:02}.{us:06}",
        date(days),
        seconds % 60
    )
}

/// Days since 2000, in the Gregorian calendar. The method is Howard Hinnant's `civil_from_days`.
fn date(days: i64) -> String {
    let days = days + DAYS_TO_2000 + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(20, &42_i64.to_be_bytes(), "42")]
    #[case(25, b"eu", "eu")]
    #[case(16, &[1], "true")]
    #[case(1082, &9131_i32.to_be_bytes(), "2024-12-31")]
    #[case(1082, &(-1_i32).to_be_bytes(), "1999-12-31")]
    #[case(1184, &(59 * DAY_US + 1).to_be_bytes(), "2000-02-29 00:00:00.000001+00")]
    #[case(17, &[0xde, 0xad], "\\xdead")]
    fn binary_values_are_read(#[case] oid: u32, #[case] bytes: &[u8], #[case] shown: &str) {
        assert_eq!(text(oid, true, bytes).as_deref(), Some(shown));
    }

    #[test]
    fn what_is_not_known_is_told_so() {
        let value = Bound {
            binary: true,
            bytes: Some(vec![0, 1]),
        };
        assert_eq!(texts(&[1700], &[value]), [Value::Unreadable]);
    }
}
