//! What the firmware team delivers: ids, the frames that gateways send, and calibration. Not ours to change.

mod calibration;
mod frame;

pub use calibration::{Calibration, Calibrator};
pub use frame::{Frame, FrameBuilder, HEADER_BYTES_MAX, Malformed, Record, unpack};

use std::fmt;
use std::sync::Arc;

/// `site/name`: a device and the site that it stands at. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(Arc<str>);

impl DeviceId {
    pub fn new(site: &str, name: &str) -> DeviceId {
        DeviceId(format!("{site}/{name}").into())
    }

    /// The part before the first `/`; the whole id where there is none.
    pub fn site(&self) -> &str {
        self.0.split_once('/').map_or(&*self.0, |(site, _)| site)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for DeviceId {
    fn from(id: &str) -> DeviceId {
        DeviceId(id.into())
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
