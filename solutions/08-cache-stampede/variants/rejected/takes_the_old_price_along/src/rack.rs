//! Where prices are held: a clock with second chances. Looking at it needs no writing.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

const VERSIONS: usize = 4096;

pub(crate) struct Rack {
    places: Vec<Place>,
    index: HashMap<Arc<str>, usize>,
    hand: usize,
    most: usize,
    /// How often a key has been invalidated. Keys share these: then a price is loaded once too often, that is all.
    versions: Box<[u64]>,
    hasher: RandomState,
}

struct Place {
    k: Arc<str>,
    price: Price,
    used: AtomicBool,
}

pub(crate) struct Price {
    pub(crate) value: Bytes,
    pub(crate) id: u128,
    pub(crate) expires: Duration,
    /// When it is to be renewed, in nanoseconds. Whoever moves it on is the one to do it.
    pub(crate) renewal: AtomicU64,
}

impl Rack {
    pub(crate) fn new(most: usize) -> Rack {
        Rack {
            places: Vec::new(),
            index: HashMap::new(),
            hand: 0,
            most,
            versions: vec![0; VERSIONS].into(),
            hasher: RandomState::new(),
        }
    }

    pub(crate) fn get(&self, k: &str) -> Option<&Price> {
        let place = &self.places[*self.index.get(k)?];
        if !place.used.load(Ordering::Relaxed) {
            place.used.store(true, Ordering::Relaxed);
        }
        Some(&place.price)
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn version(&self, k: &str) -> u64 {
        self.versions[self.stripe(k)]
    }

    pub(crate) fn put(&mut self, k: &Arc<str>, price: Price) {
        if let Some(at) = self.index.get(k) {
            self.places[*at].price = price;
            return;
        }
        let place = Place {
            k: k.clone(),
            price,
            used: AtomicBool::new(false),
        };
        if self.places.len() < self.most {
            self.index.insert(k.clone(), self.places.len());
            self.places.push(place);
        } else if self.most > 0 {
            while self.places[self.hand].used.swap(false, Ordering::Relaxed) {
                self.hand = (self.hand + 1) % self.places.len();
            }
            self.index.remove(&self.places[self.hand].k);
            self.index.insert(k.clone(), self.hand);
            self.places[self.hand] = place;
            self.hand = (self.hand + 1) % self.places.len();
        }
    }

    pub(crate) fn invalidate(&mut self, k: &str) {
        let stripe = self.stripe(k);
        self.versions[stripe] += 1;
        let Some(at) = self.index.remove(k) else {
            return;
        };
        self.places.swap_remove(at);
        if let Some(moved) = self.places.get(at) {
            self.index.insert(moved.k.clone(), at);
        }
        if self.hand >= self.places.len() {
            self.hand = 0;
        }
    }

    fn stripe(&self, k: &str) -> usize {
        self.hasher.hash_one(k) as usize % VERSIONS
    }
}
