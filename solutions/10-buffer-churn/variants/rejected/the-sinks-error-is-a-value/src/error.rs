use std::{error, fmt, io};

#[derive(Debug)]
pub enum RenderError {
    /// A value of the document cannot be rendered; says why.
    Value(String),
    /// What the sink, or the client's connection, answered.
    Io(io::Error),
}

impl fmt::Display for RenderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RenderError::Value(why) => write!(f, "a value cannot be rendered: {why}"),
            RenderError::Io(error) => error.fmt(f),
        }
    }
}

impl error::Error for RenderError {}

impl From<io::Error> for RenderError {
    fn from(error: io::Error) -> RenderError {
        RenderError::Io(error)
    }
}

impl From<serde_json::Error> for RenderError {
    fn from(error: serde_json::Error) -> RenderError {
        RenderError::Value(error.to_string())
    }
}
