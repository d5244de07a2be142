use std::fmt;

use serde::ser::{Error, Serialize, Serializer};

/// A value that is looked up when it is rendered: stock, a rate, a queue's length.
pub struct Live {
    name: String,
    look_up: Box<LookUp>,
}

type LookUp = dyn Fn() -> Result<u64, String> + Send + Sync;

impl Live {
    pub fn new(
        name: impl Into<String>,
        look_up: impl Fn() -> Result<u64, String> + Send + Sync + 'static,
    ) -> Live {
        Live {
            name: name.into(),
            look_up: Box::new(look_up),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value now, or why there is none. What looks it up is the caller's code: it may take a while, and it may panic.
    pub fn read(&self) -> Result<u64, String> {
        (self.look_up)()
    }
}

/// As a number; an error of the look-up is the serializer's.
impl Serialize for Live {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.read().map_err(S::Error::custom)?)
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
