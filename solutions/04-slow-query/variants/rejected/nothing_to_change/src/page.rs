use time::OffsetDateTime;

use crate::User;

/// One page of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub users: Vec<User>,
    /// Where the next page starts; nothing when this one was the last.
    pub next: Option<Cursor>,
}

/// A place in a listing. Callers hand back what [`Page::next`] gave them, to whichever replica they reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The last user who was listed.
    pub(crate) created_at: OffsetDateTime,
    pub(crate) id: i64,
}

impl Cursor {
    pub(crate) fn behind(user: &User) -> Self {
        Cursor {
            created_at: user.created_at,
            id: user.id,
        }
    }
}
