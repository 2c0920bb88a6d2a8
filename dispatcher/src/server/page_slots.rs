//! Slots for pages that follow changes: a limited number for one address, and some reserved for operators.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// The most followed pages at the same time. A later visitor gets a page that does not change by itself.
const ALL: usize = 64;
/// How many of them are reserved for operators.
const FOR_OPERATORS: usize = 16;
/// The most for one address, except for operators.
const OF_ADDRESS: usize = 16;

/// The slots of all pages. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct PageSlots(Arc<Mutex<BTreeMap<IpAddr, usize>>>);

/// The slot of one page; free again when dropped.
#[derive(Debug)]
pub(super) struct PageSlot {
    all: PageSlots,
    address: IpAddr,
}

impl PageSlots {
    /// A slot, if one is free.
    pub(super) fn take(&self, from: IpAddr, operator: bool) -> Option<PageSlot> {
        let address = network(from);
        let mut taken = self.0.lock();
        let (all, own) = (taken.values().sum::<usize>(), taken.get(&address).copied().unwrap_or(0));
        let is_free = if operator { all < ALL } else { all < ALL - FOR_OPERATORS && own < OF_ADDRESS };
        is_free.then(|| {
            *taken.entry(address).or_default() += 1;
            PageSlot { all: self.clone(), address }
        })
    }
}

impl Drop for PageSlot {
    fn drop(&mut self) {
        let mut taken = self.all.0.lock();
        if let Some(count) = taken.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.address);
            }
        }
    }
}

/// The owner of one IPv6 address can also use the 2^64 others of its network.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stranger_leaves_places_to_others_and_all_strangers_leave_some_to_operators() {
        let page_slots = PageSlots::default();
        let mut taken = Vec::new();
        for last in 1..=9 {
            let address = IpAddr::from([10, 0, 0, last]);
            taken.extend((0..100).map_while(|_| page_slots.take(address, false)));
            assert_eq!(taken.len(), (usize::from(last) * OF_ADDRESS).min(ALL - FOR_OPERATORS));
        }
        let stranger = IpAddr::from([10, 0, 0, 1]);
        let operators: Vec<_> = (0..100).map_while(|_| page_slots.take(stranger, true)).collect();
        assert_eq!(operators.len(), FOR_OPERATORS);
        drop((taken, operators));
        assert!(page_slots.0.lock().is_empty());
    }

    #[test]
    fn the_addresses_of_one_network_are_one_stranger() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8:0:0:ffff::2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }
}
