//! A crash test: a host's work on a simulated disk, and its state after power cuts.
//!
//! The work runs once and is recorded. Then the power is cut after events of the record. Every
//! image is opened as by a new process, checked, and passed to the host's own judgement. Part of
//! the images lose power again while they recover.

use std::error::Error as StdError;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use strongroom::check::{CheckOptions, ReadData};
use strongroom::content::GcOptions;
use strongroom::{Vault, VaultOptions};
use strongroom_backends::Disk;
use strongroom_base::{Error, ErrorKind, Result};

use crate::vault::{NumberedKey, world_options_with};
use crate::{Defect, DeferredBackend, ManualClock, Replay, SeededEntropy, World};

/// Any error of a host's work or judgement.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// The number and kind of power cuts.
#[derive(Clone, Debug)]
pub struct CrashOptions {
    /// Number of images to open, spread evenly over the events.
    pub images: u64,
    /// Seed of the images, and of the vault's entropy.
    pub seed: u64,
    /// A promise that the disk breaks. This is a canary, which must make images fail.
    pub defect: Option<Defect>,
    /// Number of calls by which acknowledged puts are late.
    ///
    /// This is a canary too: a row is committed before its object.
    pub late_objects: Option<u64>,
    /// Other keys that may open the vault after rotations.
    ///
    /// They are tried if [`TestKey`](crate::TestKey) does not open it.
    pub other_keys: Vec<NumberedKey>,
    /// One image in this many is cut again while it recovers; 0 for none.
    pub cut_again_every: u64,
}

impl Default for CrashOptions {
    fn default() -> Self {
        Self {
            images: 1_000,
            seed: 1,
            defect: None,
            late_objects: None,
            other_keys: Vec::new(),
            cut_again_every: 8,
        }
    }
}

/// An image that violates a promise.
#[derive(Clone, Debug)]
pub struct CrashFailure {
    /// The event after which the power was cut.
    pub event: u64,
    /// The seed of the image.
    pub seed: u64,
    /// The violation.
    pub violation: String,
}

/// The result of a crash test.
#[derive(Clone, Debug, Default)]
pub struct CrashSummary {
    /// Events of the recorded work.
    pub events: u64,
    /// Opened images.
    pub images: u64,
    /// Images from before the acknowledgement of the vault's creation.
    pub before_creation: u64,
    /// Images that were cut again while they recovered.
    pub cut_again: u64,
    /// The first hundred failed images.
    pub failures: Vec<CrashFailure>,
    /// Number of failed images.
    pub failed: u64,
}

impl CrashSummary {
    /// Adds the counts of two tests.
    pub fn merge(&mut self, other: Self) {
        self.events += other.events;
        self.images += other.images;
        self.before_creation += other.before_creation;
        self.cut_again += other.cut_again;
        self.failed += other.failed;
        let room = FAILURES_LISTED_MAX.saturating_sub(self.failures.len());
        self.failures.extend(other.failures.into_iter().take(room));
    }
}

const FAILURES_LISTED_MAX: usize = 100;

impl fmt::Display for CrashSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bound = 3.0 / self.images.max(1) as f64;
        write!(f, "{} lost of {} images", self.failed, self.images)?;
        if self.failed == 0 {
            write!(f, " (bound 3/N = {bound:.1e})")?;
        }
        write!(
            f,
            ", {} events, {} images before creation, {} cut again",
            self.events, self.before_creation, self.cut_again
        )?;
        if let Some(CrashFailure { event, seed, violation }) = self.failures.first() {
            write!(f, "; first: after event {event}, seed {seed}: {violation}")?;
        }
        Ok(())
    }
}

/// The host's running work: its vault, and the record of acknowledged changes.
#[derive(Debug)]
pub struct Scene<A> {
    place: Place,
    /// The canary's backend, which puts objects late.
    late: Option<Arc<DeferredBackend>>,
    vault: Option<Vault>,
    created_at: u64,
    attempts: Vec<Attempt<A>>,
}

#[derive(Debug)]
struct Attempt<A> {
    what: A,
    /// Events before the creation began, and at its acknowledgement.
    began: u64,
    done: Option<u64>,
}

/// A vault's location in a world.
#[derive(Clone, Debug)]
struct Place {
    world: World,
    seed: u64,
    late_objects: Option<u64>,
    other_keys: Vec<NumberedKey>,
}

const PATH: &str = "/vault";
const CONTENT: &str = "/content";

impl Place {
    fn options(&self) -> VaultOptions {
        self.options_with(NumberedKey(0))
    }

    fn options_with(&self, key: NumberedKey) -> VaultOptions {
        world_options_with(key, &self.world, self.seed)
    }

    /// Makes the canary's backend, which acknowledges too early.
    fn late_backend(&self) -> Result<Option<Arc<DeferredBackend>>> {
        let Some(delay) = self.late_objects else {
            return Ok(None);
        };
        Ok(Some(Arc::new(DeferredBackend::new(Arc::new(self.disk()?), delay))))
    }

    fn disk(&self) -> Result<Disk> {
        let fs = Arc::new(self.world.clone());
        let entropy = Arc::new(SeededEntropy::new(self.seed ^ 0x0bec));
        Disk::with(fs, entropy, Arc::new(ManualClock::new()), CONTENT)
    }

    /// Opens the vault like a new process, with the first matching key.
    ///
    /// The backend is honest.
    fn open(&self) -> Result<Vault> {
        let mut opened = self.open_with(NumberedKey(0));
        for &key in &self.other_keys {
            match opened {
                Err(e) if e.kind() == ErrorKind::Denied => opened = self.open_with(key),
                _ => break,
            }
        }
        opened
    }

    fn open_with(&self, key: NumberedKey) -> Result<Vault> {
        match self.late_objects {
            Some(_) => self.options_with(key).backend(self.disk()?).open(PATH),
            None => self.options_with(key).open(PATH),
        }
    }

    fn create(&self) -> Result<Vault> {
        match self.late_objects {
            Some(_) => self.options().backend(self.disk()?).create(PATH),
            None => self.options().create(PATH),
        }
    }
}

impl<A> Scene<A> {
    /// Returns the vault.
    pub fn vault(&self) -> &Vault {
        self.vault.as_ref().expect("only missing inside `reopen`")
    }

    /// Returns the disk.
    pub fn world(&self) -> &World {
        &self.place.world
    }

    /// Runs a change and records whether it was acknowledged.
    ///
    /// Before its acknowledgement it may or may not survive a crash; afterwards it must.
    pub fn attempt<T, E>(
        &mut self,
        what: A,
        act: impl FnOnce(&Vault) -> Result<T, E>,
    ) -> Result<T, E> {
        let began = self.place.world.events();
        self.attempts.push(Attempt { what, began, done: None });
        let last = self.attempts.len() - 1;
        let value = act(self.vault())?;
        self.attempts[last].done = Some(self.place.world.events());
        Ok(value)
    }

    /// Records a change that another thread attempted.
    ///
    /// `began` and `done` are [`World::events`] before it began and at its acknowledgement.
    pub fn note(&mut self, what: A, began: u64, done: Option<u64>) {
        self.attempts.push(Attempt { what, began, done });
    }

    /// Closes and reopens the vault.
    pub fn reopen(&mut self) -> Result<()> {
        self.vault.take().expect("put back below").close()?;
        self.place.seed += 1;
        let options = self.place.options();
        let vault = match &self.late {
            Some(late) => {
                late.settle()?;
                options.backend(Arc::clone(late)).open(PATH)?
            }
            None => options.open(PATH)?,
        };
        self.vault = Some(vault);
        Ok(())
    }
}

/// Runs `work` and cuts the power.
///
/// `holds` judges each image, given the acknowledged and the running changes. Panics if the work
/// itself fails, because there is nothing to cut then.
pub fn crash_test<A: Clone>(
    options: &CrashOptions,
    work: impl FnOnce(&mut Scene<A>) -> Result<(), BoxError>,
    holds: impl Fn(&Vault, &[A], &[A]) -> Result<(), BoxError>,
) -> CrashSummary {
    let world = match options.defect {
        Some(defect) => World::new().with_defect(defect),
        None => World::new(),
    };
    let place = Place {
        world: world.clone(),
        seed: options.seed,
        late_objects: options.late_objects,
        other_keys: options.other_keys.clone(),
    };
    let late = place.late_backend().expect("the simulated disk has no fault yet");
    let created = match &late {
        Some(late) => place.options().backend(Arc::clone(late)).create(PATH),
        None => place.options().create(PATH),
    };
    let vault = Some(created.expect("the simulated disk has no fault yet"));
    let created_at = world.events();
    let mut scene = Scene { place, late, vault, created_at, attempts: Vec::new() };
    if let Err(error) = work(&mut scene) {
        panic!("the work failed before any power cut: {error}");
    }
    drop(scene.vault.take());
    ImageCheck { options, scene: &scene, holds: &holds }.run()
}

struct ImageCheck<'a, A, H> {
    options: &'a CrashOptions,
    scene: &'a Scene<A>,
    holds: &'a H,
}

impl<A: Clone, H: Fn(&Vault, &[A], &[A]) -> Result<(), BoxError>> ImageCheck<'_, A, H> {
    fn run(&self) -> CrashSummary {
        let journal = self.scene.world().journal();
        let events = journal.events();
        let mut replay = Replay::new(&journal);
        let mut summary = CrashSummary { events, ..CrashSummary::default() };
        for n in 0..self.options.images {
            let event = u64::try_from(
                u128::from(n) * u128::from(events + 1) / u128::from(self.options.images),
            )
            .expect("at most the number of events");
            replay.advance_to(event);
            let seed = self.options.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(n);
            summary.images += 1;
            summary.before_creation += u64::from(event < self.scene.created_at);
            let again = self.options.cut_again_every;
            let outcome = if again > 0 && n % again == again - 1 {
                summary.cut_again += 1;
                self.judge_twice(&replay.image(seed), event, seed)
            } else {
                self.judge(replay.image(seed), event)
            };
            if let Err(violation) = outcome {
                summary.failed += 1;
                if summary.failures.len() < FAILURES_LISTED_MAX {
                    summary.failures.push(CrashFailure { event, seed, violation });
                }
            }
        }
        summary
    }

    /// Recovers an image, cuts it again meanwhile, and judges the result.
    fn judge_twice(&self, image: &World, event: u64, seed: u64) -> Result<(), String> {
        let place = self.place(image.clone(), event);
        drop(place.open().or_else(|_| place.create()));
        let journal = image.journal();
        let mut replay = Replay::new(&journal);
        replay.advance_to(seed % (journal.events() + 1));
        self.judge(replay.image(seed), event).map_err(|violation| format!("cut again: {violation}"))
    }

    fn place(&self, world: World, event: u64) -> Place {
        let CrashOptions { late_objects, .. } = *self.options;
        let other_keys = self.options.other_keys.clone();
        Place { world, seed: self.options.seed ^ event, late_objects, other_keys }
    }

    fn judge(&self, image: World, event: u64) -> Result<(), String> {
        let judged = catch_unwind(AssertUnwindSafe(|| self.judge_image(image, event)));
        judged.unwrap_or_else(|_| Err("it panicked".into()))
    }

    fn judge_image(&self, image: World, event: u64) -> Result<(), String> {
        let text = |e: Error| e.to_string();
        let place = self.place(image, event);
        let vault = match place.open() {
            Ok(vault) => vault,
            Err(e) if e.kind() == ErrorKind::NotFound && event < self.scene.created_at => {
                return judge_new(&place);
            }
            Err(e) => return Err(format!("does not open: {e}")),
        };
        if event < self.scene.created_at {
            // The creation was not acknowledged, but it is complete.
            return check(&vault);
        }
        check(&vault)?;
        let (done, under_way) = self.split(event);
        (self.holds)(&vault, &done, &under_way).map_err(|e| e.to_string())?;
        check_leftovers(&place)?;
        // It can be written and closed, and is clean then.
        vault.write(|tx| tx.insert("after the crash", "k", "v")).map_err(text)?;
        vault.close().map_err(text)?;
        let vault = place.open().map_err(text)?;
        if !vault.recovery().was_clean() {
            return Err(format!("not clean after a close: {:?}", vault.recovery()));
        }
        Ok(())
    }

    /// Returns the acknowledged and the running changes at `event`.
    fn split(&self, event: u64) -> (Vec<A>, Vec<A>) {
        let (mut done, mut under_way) = (Vec::new(), Vec::new());
        for attempt in &self.scene.attempts {
            if attempt.done.is_some_and(|done| done <= event) {
                done.push(attempt.what.clone());
            } else if attempt.began < event {
                under_way.push(attempt.what.clone());
            }
        }
        (done, under_way)
    }
}

/// The creation did not happen, so it must succeed now.
fn judge_new(place: &Place) -> Result<(), String> {
    let vault = place.create().map_err(|e| format!("not to be created: {e}"))?;
    check(&vault)
}

/// Checks that rows decode and that exactly the named objects exist.
fn check(vault: &Vault) -> Result<(), String> {
    let report = vault
        .check(&CheckOptions::new().read_data(ReadData::All))
        .map_err(|e| format!("check failed: {e}"))?;
    if !report.is_ok() {
        return Err(format!("check: {:?}, {:?}", report.state_intact, report.problems));
    }
    if !report.unknown.is_empty() {
        return Err(format!("objects that no row names: {:?}", report.unknown));
    }
    let waiting =
        vault.gc(&GcOptions::new().without_repacking(true)).map_err(|e| e.to_string())?.waiting;
    if report.due > 0 || waiting > 0 {
        return Err(format!("{} objects still due after open", report.due));
    }
    Ok(())
}

/// Checks that no temporary file is left.
///
/// It covers the backend and an unfinished creation.
fn check_leftovers(place: &Place) -> Result<(), String> {
    if place.late_objects.is_some() {
        // The host cleans its own backend.
        return Ok(());
    }
    let left = place.world.tree().into_iter().find(|(path, len)| {
        let path = path.to_string_lossy();
        len.is_some() && (path.contains("/tmp/") || path.ends_with(".new"))
    });
    left.map_or(Ok(()), |(path, _)| Err(format!("left behind: {}", path.display())))
}
