//! Stands in for the container client in builds without the feature `containers`.

use crate::Error;
use crate::container::Plan;
use crate::endpoint::Endpoint;
use crate::kind::Kind;
use crate::options::Options;
use crate::postgres::PostgresSeed;
use crate::record::Record;

/// No daemon is ever reached.
#[derive(Clone, Debug)]
pub(crate) enum Daemon {}

impl Daemon {
    pub(crate) async fn connect(_: &Options) -> Result<Daemon, String> {
        Err(
            "this program was built without a container client (feature `containers` of `services`)"
                .to_owned(),
        )
    }

    pub(crate) async fn image_id(&self, _: &str) -> Option<String> {
        match *self {}
    }

    pub(crate) async fn ensure(&self, _: Kind, _: &Options) -> Result<String, String> {
        match *self {}
    }

    pub(crate) async fn start(&self, _: Kind, _: &Options, _: &Plan) -> Result<Contained, Error> {
        match *self {}
    }

    pub(crate) async fn start_postgres(
        &self,
        _: &Options,
        _: &[PostgresSeed],
    ) -> Result<(Contained, Endpoint, String), Error> {
        match *self {}
    }

    pub(crate) async fn sweep(&self, _: &Options) -> usize {
        match *self {}
    }

    pub(crate) async fn volumes(&self, _: &Options) -> Vec<String> {
        match *self {}
    }

    pub(crate) async fn remove_volume(&self, _: &str) {
        match *self {}
    }

    pub(crate) async fn remove_container(&self, _: &str) {
        match *self {}
    }

    pub(crate) fn version(&self) -> &str {
        match *self {}
    }
}

/// No container ever runs.
#[derive(Debug)]
pub(crate) enum Contained {}

impl Contained {
    pub(crate) async fn until_ready(&self, _: &Endpoint) -> Result<String, Error> {
        match *self {}
    }

    pub(crate) fn port(&self) -> u16 {
        match *self {}
    }

    pub(crate) fn id(&self) -> &str {
        match *self {}
    }

    pub(crate) fn image(&self) -> &str {
        match *self {}
    }

    pub(crate) fn leave(self) -> Result<Record, Error> {
        match self {}
    }
}
