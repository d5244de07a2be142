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
///
/// It names the last user that was seen by the listing's own order, so the next page starts there however many have
/// signed up in the meantime, and finding it costs one descent of the index instead of reading all that came before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub(crate) created_at: OffsetDateTime,
}
