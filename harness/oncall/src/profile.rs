//! A profile as pprof reads it: <https://github.com/google/pprof/blob/main/proto/profile.proto>, the fields that are used.

use std::collections::HashMap;

use prost::Message;

use crate::symbols::Place;

#[derive(Clone, PartialEq, Message)]
struct Proto {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(int64, tag = "9")]
    time_nanos: i64,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    period: i64,
    #[prost(int64, tag = "14")]
    default_sample_type: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    kind: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(message, repeated, tag = "4")]
    line: Vec<LineOf>,
}

#[derive(Clone, PartialEq, Message)]
struct LineOf {
    #[prost(uint64, tag = "1")]
    function_id: u64,
    #[prost(int64, tag = "2")]
    line: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
    #[prost(int64, tag = "3")]
    system_name: i64,
    #[prost(int64, tag = "4")]
    filename: i64,
}

/// A stack with what was counted there. Innermost first.
#[derive(Clone, Debug)]
pub struct Stack {
    pub places: Vec<Place>,
    pub values: Vec<i64>,
}

/// What a profile holds.
pub struct Profile {
    /// Name and unit of each value, as `("inuse_space", "bytes")`.
    pub values: Vec<(&'static str, &'static str)>,
    /// The value that is shown first.
    pub first: &'static str,
    pub period: (&'static str, &'static str, i64),
    pub duration_ns: i64,
    pub stacks: Vec<Stack>,
}

impl Profile {
    /// The bytes of a file that `go tool pprof` opens.
    pub fn encoded(&self) -> Vec<u8> {
        let mut strings = Strings::default();
        strings.of("");
        let mut value_type = |(kind, unit): (&str, &str)| ValueType {
            kind: strings.of(kind),
            unit: strings.of(unit),
        };
        let sample_type = self.values.iter().map(|value| value_type(*value)).collect();
        let period_type = Some(value_type((self.period.0, self.period.1)));
        let default_sample_type = strings.of(self.first);
        let mut places: HashMap<&Place, u64> = HashMap::new();
        let mut functions: HashMap<(&str, &str), u64> = HashMap::new();
        let (mut location, mut function, mut sample) = (Vec::new(), Vec::new(), Vec::new());
        for stack in &self.stacks {
            let mut location_id = Vec::with_capacity(stack.places.len());
            for place in &stack.places {
                let next = places.len() as u64 + 1;
                let id = *places.entry(place).or_insert(next);
                if id == next {
                    let next = functions.len() as u64 + 1;
                    let key = (place.function.as_str(), place.file.as_str());
                    let function_id = *functions.entry(key).or_insert(next);
                    if function_id == next {
                        let name = strings.of(&place.function);
                        function.push(Function {
                            id: next,
                            name,
                            system_name: name,
                            filename: strings.of(&place.file),
                        });
                    }
                    location.push(Location {
                        id,
                        line: vec![LineOf {
                            function_id,
                            line: place.line.into(),
                        }],
                    });
                }
                location_id.push(id);
            }
            sample.push(Sample {
                location_id,
                value: stack.values.clone(),
            });
        }
        let proto = Proto {
            sample_type,
            sample,
            location,
            function,
            string_table: strings.all,
            time_nanos: (crate::process::now_s() * 1e9) as i64,
            duration_nanos: self.duration_ns,
            period_type,
            period: self.period.2,
            default_sample_type,
        };
        proto.encode_to_vec()
    }

    /// Lines of `outermost;…;innermost count`, for the value of that name; what is nothing is left out.
    pub fn folded(&self, value: &str) -> Vec<(String, i64)> {
        let Some(at) = self.values.iter().position(|(name, _)| *name == value) else {
            return Vec::new();
        };
        let mut folded: HashMap<String, i64> = HashMap::new();
        for stack in self.stacks.iter().filter(|stack| stack.values[at] != 0) {
            let names: Vec<String> = stack
                .places
                .iter()
                .rev()
                .map(|place| place.function.replace(';', ":"))
                .collect();
            *folded.entry(names.join(";")).or_default() += stack.values[at];
        }
        let mut folded: Vec<(String, i64)> = folded.into_iter().collect();
        folded.sort();
        folded
    }
}

#[derive(Default)]
struct Strings {
    all: Vec<String>,
    places: HashMap<String, i64>,
}

impl Strings {
    fn of(&mut self, text: &str) -> i64 {
        if let Some(place) = self.places.get(text) {
            return *place;
        }
        let place = self.all.len() as i64;
        self.all.push(text.to_owned());
        self.places.insert(text.to_owned(), place);
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(names: &[&str], value: i64) -> Stack {
        let place = |name: &&str| Place {
            function: (*name).to_owned(),
            file: "a.rs".to_owned(),
            line: 3,
        };
        Stack {
            places: names.iter().map(place).collect(),
            values: vec![value],
        }
    }

    #[test]
    fn a_profile_is_written_and_read_back() {
        let profile = Profile {
            values: vec![("samples", "count")],
            first: "samples",
            period: ("cpu", "nanoseconds", 1),
            duration_ns: 5,
            stacks: vec![
                stack(&["inner", "outer"], 2),
                stack(&["outer"], 1),
                stack(&["inner", "outer"], 4),
            ],
        };
        let proto = Proto::decode(profile.encoded().as_slice()).unwrap();
        assert_eq!(proto.string_table[0], "");
        assert_eq!(
            (proto.function.len(), proto.location.len(), proto.sample.len()),
            (2, 2, 3)
        );
        assert_eq!(proto.sample[0].location_id, proto.sample[2].location_id);
        assert_eq!(
            profile.folded("samples"),
            [("outer".to_owned(), 1), ("outer;inner".to_owned(), 6)]
        );
        assert!(profile.folded("other").is_empty());
    }
}
