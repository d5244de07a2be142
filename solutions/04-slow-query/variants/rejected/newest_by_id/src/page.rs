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
/// It names the last user that was seen; where that user stands in the order is looked up by the next page itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub(crate) id: i64,
}
