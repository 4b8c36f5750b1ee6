//! The choice of versions that survive a power cut.
//!
//! It is made for each sector, length and name.
//!
//! If every choice were independent, the images that find bugs would hardly ever occur: all lost,
//! all kept, one thing missing. So each image first draws a [`SectorFate`], which decides the
//! single choices. Everything is drawn from the seed. This file does not know the objects of its
//! choices.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The behaviour of a disk in one power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SectorFate {
    /// Nothing unsynced survives.
    Lost,
    /// Everything survives.
    Kept,
    /// All names survive and no data: files exist and are empty.
    NamesKept,
    /// All data survives and no name.
    DataKept,
    /// Every choice is independent, each version equally likely.
    Mixed,
    /// An ordered disk: changes up to an event survive, and later ones do not.
    Until { event: u64 },
    /// Everything survives except one event; if `torn`, half of that event.
    OneLost { event: u64, torn: bool },
    /// Only one event survives; if `torn`, half of it.
    OneKept { event: u64, torn: bool },
}

/// The events that a power cut may undo.
#[derive(Debug, Default)]
pub(super) struct Unsynced {
    /// Events that changed names.
    pub(super) names: Vec<u64>,
    /// Events that changed files.
    pub(super) data: Vec<u64>,
}

/// The fate of one image: the behaviour of its disk, and the draws that it needs.
#[derive(Debug)]
pub(super) struct Fate {
    behaviour: SectorFate,
    draws: ChaCha8Rng,
}

impl Fate {
    /// Draws the behaviour of the image `seed` after event number `event`.
    pub(super) fn draw(seed: u64, event: u64, unsynced: &Unsynced) -> Self {
        // The seeds 0..n should not mean the same n behaviours after every event. The factor is
        // 2^64 over the golden ratio, which spreads neighbours (Knuth, volume 3, 6.4).
        let mixed = seed.wrapping_add(event.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut draws = ChaCha8Rng::seed_from_u64(mixed);
        let behaviour = SectorFate::draw(&mut draws, unsynced);
        Self { behaviour, draws }
    }

    /// Chooses the surviving version of a name: 0 is the durable one, and `n` the one after the
    /// `n`th of `events`.
    pub(super) fn of_name(&mut self, events: impl Iterator<Item = u64> + Clone) -> usize {
        match self.behaviour {
            SectorFate::NamesKept => events.count(),
            SectorFate::DataKept => 0,
            _ => self.of_any(events),
        }
    }

    /// Chooses the surviving version of a sector or length.
    ///
    /// It is counted like a name's versions.
    pub(super) fn of_data(&mut self, events: impl Iterator<Item = u64> + Clone) -> usize {
        match self.behaviour {
            SectorFate::NamesKept => 0,
            SectorFate::DataKept => events.count(),
            _ => self.of_any(events),
        }
    }

    fn of_any(&mut self, mut events: impl Iterator<Item = u64> + Clone) -> usize {
        let last = events.clone().count();
        match self.behaviour {
            SectorFate::Lost | SectorFate::NamesKept | SectorFate::DataKept => 0,
            SectorFate::Kept => last,
            SectorFate::Mixed => below(&mut self.draws, last + 1),
            SectorFate::Until { event } => events.take_while(|at| *at <= event).count(),
            SectorFate::OneLost { event, torn } => match events.position(|at| at == event) {
                Some(before) if self.strikes(torn) => before,
                _ => last,
            },
            SectorFate::OneKept { event, torn } => match events.position(|at| at == event) {
                Some(before) if self.strikes(torn) => before + 1,
                _ => 0,
            },
        }
    }

    fn strikes(&mut self, torn: bool) -> bool {
        !torn || coin(&mut self.draws)
    }
}

impl SectorFate {
    fn draw(draws: &mut ChaCha8Rng, unsynced: &Unsynced) -> Self {
        let Some(event) = unsynced.one(draws) else {
            return Self::Lost;
        };
        // Mixed and ordered disks reveal the most; the plain corners are few.
        match below(draws, 12) {
            0 => Self::Lost,
            1 => Self::Kept,
            2 => Self::NamesKept,
            3 => Self::DataKept,
            4..=6 => Self::Mixed,
            7..=8 => Self::Until { event },
            9..=10 => Self::OneLost { event, torn: coin(draws) },
            _ => Self::OneKept { event, torn: coin(draws) },
        }
    }
}

impl Unsynced {
    /// Draws one of the events. Name events are rare and important, so half of the draws choose one
    /// of them.
    fn one(&self, draws: &mut ChaCha8Rng) -> Option<u64> {
        let of_names = match (self.names.is_empty(), self.data.is_empty()) {
            (true, true) => return None,
            (false, false) => coin(draws),
            (no_names, _) => !no_names,
        };
        let events = if of_names { &self.names } else { &self.data };
        Some(events[below(draws, events.len())])
    }
}

fn coin(draws: &mut ChaCha8Rng) -> bool {
    draws.next_u32() & 1 == 1
}

/// Draws a number below `bound`, nearly uniform for the small bounds here.
fn below(draws: &mut ChaCha8Rng, bound: usize) -> usize {
    let wide = u64::from(draws.next_u32()) * bound as u64;
    usize::try_from(wide >> 32).expect("smaller than the bound")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fate(behaviour: SectorFate) -> Fate {
        Fate { behaviour, draws: ChaCha8Rng::seed_from_u64(0) }
    }

    #[test]
    fn each_behaviour_chooses_its_version() {
        for (behaviour, name, data) in [
            (SectorFate::Lost, 0, 0),
            (SectorFate::Kept, 3, 3),
            (SectorFate::NamesKept, 3, 0),
            (SectorFate::DataKept, 0, 3),
            (SectorFate::Until { event: 5 }, 1, 1),
            (SectorFate::Until { event: 6 }, 2, 2),
            (SectorFate::OneLost { event: 6, torn: false }, 1, 1),
            (SectorFate::OneLost { event: 7, torn: false }, 3, 3),
            (SectorFate::OneKept { event: 6, torn: false }, 2, 2),
            (SectorFate::OneKept { event: 7, torn: false }, 0, 0),
        ] {
            let events = [4, 6, 8].into_iter();
            assert_eq!(fate(behaviour).of_name(events.clone()), name, "name, {behaviour:?}");
            assert_eq!(fate(behaviour).of_data(events), data, "data, {behaviour:?}");
        }
    }

    #[test]
    fn mixed_behaviour_reaches_every_version() {
        let mut fate = fate(SectorFate::Mixed);
        let mut seen = [0; 4];
        for _ in 0..400 {
            seen[fate.of_data([1, 2, 3].into_iter())] += 1;
        }
        assert!(seen.iter().all(|times| *times > 50), "{seen:?}");
    }

    #[test]
    fn every_behaviour_occurs() {
        let unsynced = Unsynced { names: vec![1], data: vec![2, 3] };
        let behaviours: Vec<_> =
            (0..500).map(|seed| Fate::draw(seed, 3, &unsynced).behaviour).collect();
        let of_same_kind = |behaviour: SectorFate| {
            let kind = std::mem::discriminant(&behaviour);
            behaviours.iter().filter(|drawn| std::mem::discriminant(*drawn) == kind).count()
        };
        for behaviour in [
            SectorFate::Lost,
            SectorFate::Kept,
            SectorFate::NamesKept,
            SectorFate::DataKept,
            SectorFate::Mixed,
            SectorFate::Until { event: 0 },
            SectorFate::OneLost { event: 0, torn: true },
            SectorFate::OneKept { event: 0, torn: true },
        ] {
            assert!(
                of_same_kind(behaviour) > 10,
                "{behaviour:?} came up {} times",
                of_same_kind(behaviour)
            );
        }
    }
}
