//! The peers: one trait, and a type for each implementation.
//!
//! Each peer shares a secret of many bytes as its documentation shows. The results are not equal;
//! `../../README.md` describes the differences.

use anyhow::{Result, anyhow};
use blahaj::{Share, Sharks};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use strongroom::backends::component::{Entropy, OsEntropy};
use strongroom_testkit::ShareBench;
use vsss_rs::Gf256;

use super::{Boxed, Case};

// Names in the tables.
/// The field alone, with coefficients drawn before.
pub(super) const BARE: &str = "strongroom, bare";
/// All layers, as a document is written and read.
pub(super) const STRONGROOM: &str = "strongroom, all included";
pub(super) const BLAHAJ: &str = "blahaj";
pub(super) const VSSS: &str = "vsss-rs";

/// A way to share a secret, with the secret.
pub(super) trait Sharer {
    fn label(&self) -> &'static str;

    /// Makes all shares, replacing those of the previous call.
    fn split(&mut self) -> Result<()>;

    /// Joins the secret from the needed shares of the last split.
    fn join(&self) -> Result<Vec<u8>>;
}

/// Draws random bytes, and makes all sharers of them.
pub(super) fn of(case: Case) -> Result<(Vec<u8>, Vec<Boxed>)> {
    let Case { threshold, shares, capacity } = case;
    let bench = || ShareBench::new(capacity, (threshold, shares), &OsEntropy);
    let (bare, whole) = (bench()?, bench()?);
    let secret = whole.secret().to_vec();
    let mut all: Vec<Boxed> = vec![Box::new(Bare(bare.with_secret(&secret))), Box::new(All(whole))];
    if case.has_peers() {
        all.push(Box::new(Blahaj::new(case, secret.clone())));
        all.push(Box::new(Vsss::new(case, secret.clone())?));
    }
    Ok((secret, all))
}

struct Bare(ShareBench);

impl Sharer for Bare {
    fn label(&self) -> &'static str {
        BARE
    }

    fn split(&mut self) -> Result<()> {
        self.0.split_bare();
        Ok(())
    }

    fn join(&self) -> Result<Vec<u8>> {
        Ok(std::mem::take(&mut *self.0.join_bare()))
    }
}

struct All(ShareBench);

impl Sharer for All {
    fn label(&self) -> &'static str {
        STRONGROOM
    }

    fn split(&mut self) -> Result<()> {
        self.0.split();
        Ok(())
    }

    fn join(&self) -> Result<Vec<u8>> {
        Ok(std::mem::take(&mut *self.0.join()))
    }
}

struct Blahaj {
    threshold: u8,
    shares: usize,
    secret: Vec<u8>,
    split: Vec<Share>,
}

impl Blahaj {
    fn new(case: Case, secret: Vec<u8>) -> Self {
        let Case { threshold, shares, .. } = case;
        Self { threshold, shares: shares.into(), secret, split: Vec::new() }
    }
}

impl Sharer for Blahaj {
    fn label(&self) -> &'static str {
        BLAHAJ
    }

    fn split(&mut self) -> Result<()> {
        self.split = Sharks(self.threshold).dealer(&self.secret).take(self.shares).collect();
        Ok(())
    }

    fn join(&self) -> Result<Vec<u8>> {
        let first = &self.split[..usize::from(self.threshold)];
        Sharks(self.threshold).recover(first).map_err(|e| anyhow!("{e}"))
    }
}

struct Vsss {
    threshold: usize,
    shares: usize,
    secret: Vec<u8>,
    rng: ChaCha20Rng,
    split: Vec<Vec<u8>>,
}

impl Vsss {
    fn new(case: Case, secret: Vec<u8>) -> Result<Self> {
        let mut seed = [0; 32];
        OsEntropy.fill(&mut seed)?;
        let rng = ChaCha20Rng::from_seed(seed);
        let (threshold, shares) = (case.threshold.into(), case.shares.into());
        Ok(Self { threshold, shares, secret, rng, split: Vec::new() })
    }
}

impl Sharer for Vsss {
    fn label(&self) -> &'static str {
        VSSS
    }

    fn split(&mut self) -> Result<()> {
        let split = Gf256::split_bytes(self.threshold, self.shares, &self.secret, &mut self.rng);
        self.split = split.map_err(|e| anyhow!("{e:?}"))?;
        Ok(())
    }

    fn join(&self) -> Result<Vec<u8>> {
        Gf256::combine_bytes(&self.split[..self.threshold]).map_err(|e| anyhow!("{e:?}"))
    }
}
