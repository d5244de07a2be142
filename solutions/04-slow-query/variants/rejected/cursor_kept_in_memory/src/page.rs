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
/// A number is all that leaves the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub(crate) place: usize,
}
