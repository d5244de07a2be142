use std::fmt;

use sqlx::FromRow;
use time::OffsetDateTime;

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct User {
    pub id: i64,
    pub email: String,
    pub region: String,
    pub status: Status,
    pub verified: bool,
    pub bio: String,
    pub created_at: OffsetDateTime,
}

/// Goes to the database as its own type. As text with a cast it would be a value that the planner learns too late to
/// prove anything by: text to enum is looked up at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, sqlx::Type)]
#[sqlx(type_name = "user_status", rename_all = "lowercase")]
pub enum Status {
    Pending,
    Active,
    Suspended,
    Closed,
}

impl Status {
    /// The label of the database's `user_status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Active => "active",
            Status::Suspended => "suspended",
            Status::Closed => "closed",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
