//! Whether anything passes between the two sides of a tap.

use std::sync::Arc;
use tokio::sync::watch;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Link {
    /// How many guards want new connections to be refused, and everything to be silent.
    pub refused: u32,
    pub silent: u32,
}

pub(crate) type LinkState = Arc<watch::Sender<Link>>;

/// Keeps the link refusing or silent; dropping it ends that.
#[must_use = "dropping it ends the fault"]
#[derive(Debug)]
pub struct LinkGuard {
    link: LinkState,
    field: fn(&mut Link) -> &mut u32,
}

impl LinkGuard {
    pub(crate) fn raise(link: &LinkState, field: fn(&mut Link) -> &mut u32) -> LinkGuard {
        link.send_modify(|link| *field(link) += 1);
        LinkGuard {
            link: link.clone(),
            field,
        }
    }
}

impl Drop for LinkGuard {
    fn drop(&mut self) {
        self.link.send_modify(|link| *(self.field)(link) -= 1);
    }
}

/// Waits while the link is silent.
pub(crate) async fn audible(link: &mut watch::Receiver<Link>) {
    // The sender lives as long as the tap, and its connections no longer than the tap.
    link.wait_for(|link| link.silent == 0).await.ok();
}
