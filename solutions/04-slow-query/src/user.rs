use std::fmt;

use sqlx::FromRow;
use time::OffsetDateTime;

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct User {
    pub id: i64,
    pub email: String,
    pub region: String,
    #[sqlx(try_from = "String")]
    pub status: Status,
    pub verified: bool,
    pub bio: String,
    pub created_at: OffsetDateTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

impl TryFrom<String> for Status {
    type Error = String;

    fn try_from(label: String) -> Result<Self, String> {
        match label.as_str() {
            "pending" => Ok(Status::Pending),
            "active" => Ok(Status::Active),
            "suspended" => Ok(Status::Suspended),
            "closed" => Ok(Status::Closed),
            _ => Err(format!("unknown user status `{label}`")),
        }
    }
}
