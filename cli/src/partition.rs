//! `partition`: add, destroy and verify partitions, and change their passwords.
//!
//! A key is printed once, as soon as its partition exists. No command lists partitions, because the
//! vault does not know them. So `add` reports how likely it destroys a partition that was not
//! named.

use serde_json::{Value as Json, json};
use strongroom::documents::{Damage, Partition, SecretPartitionKey, Space};
use strongroom::{Error, ErrorKind, LongCall, Vault};

use crate::args::{PartitionKey, PartitionOptions, PartitionPassword, Partitions};
use crate::exit::{Failure, Outcome};
use crate::hint::CliReason;
use crate::output::{Output, print_json};
use crate::secret::{
    KeyArgument, NEW_PARTITION_PASSWORD_VARIABLE, PARTITION_PASSWORD_VARIABLE, PasswordOrigin,
    Prompt, partition_key,
};
use crate::session::{Session, moving, usage};

/// Name of the engine's call that adds a partition.
const ADD: &str = "add partition";

pub(crate) fn run(session: &Session<'_>, command: &Partitions) -> Result<Outcome, Failure> {
    match command {
        Partitions::Add { keep, force, password, .. } => add(session, keep, *force, password)?,
        Partitions::Destroy { key, .. } => destroy(session, key)?,
        Partitions::Password { place, new_partition_password_file } => {
            let new = PasswordOrigin::of(
                new_partition_password_file.as_deref(),
                NEW_PARTITION_PASSWORD_VARIABLE,
            );
            change_password(session, place, &new)?;
        }
        Partitions::Verify { place } => return verify(session, place),
    }
    Ok(Outcome::Done)
}

fn add(
    session: &Session<'_>,
    keep: &[KeyArgument],
    force: bool,
    password: &PartitionPassword,
) -> Result<(), Failure> {
    let password = password.origin();
    let kept = keep.iter().map(|key| (key.is_stdin(), "a key to keep"));
    let is_stdin = [(password.is_stdin(), "the partition's password")];
    session.expect_one_stdin(&kept.chain(is_stdin).collect::<Vec<_>>())?;
    let keep = keep.iter().map(|key| key.read(session.notes())).collect::<Result<Vec<_>, _>>()?;
    expect_no_key_twice(&keep)?;
    let vault = session.open("partition add")?;
    let space = vault.documents().space()?;
    check_risk(session, &space, keep.len(), force)?;
    let password = password.read(Prompt::NewOfPartition, session.path(), session.notes())?;
    let bar = session.objects_bar();
    let keep: Vec<_> = keep.iter().collect();
    let key = space.add_partition_with(&password, &keep, LongCall::new().progress(&moving(&bar)));
    bar.finish_and_clear();
    // The key must be printed now, because it cannot be read again later.
    print_key(session, &key?)?;
    session.close(vault)
}

/// Reports the probability that a partition that was not named is lost.
///
/// Returns an error if no partition is named and `--force` is absent.
fn check_risk(
    session: &Session<'_>,
    space: &Space,
    kept: usize,
    force: bool,
) -> Result<(), Failure> {
    // A space that was never updated has no partition that could be lost.
    if space.info()?.updated_unix_millis.is_none() {
        return Ok(());
    }
    let chance = percent(space.loss_chance(kept));
    let risk = format!(
        "adding may destroy each partition that is not named with --keep, with a probability of \
         {chance}"
    );
    match (kept, force) {
        (0, false) => {
            let error = Error::new(ErrorKind::Invalid, ADD).with_detail(risk);
            Err(CliReason::PartitionsNotNamed.failure(error))
        }
        (0, true) => {
            session.say(format!("warning: {risk}"));
            Ok(())
        }
        _ => {
            session.say(format!("note: {risk}"));
            Ok(())
        }
    }
}

/// Refuses a key that is given twice, because one was probably meant to be another.
fn expect_no_key_twice(keep: &[SecretPartitionKey]) -> Result<(), Failure> {
    let mut texts: Vec<_> = keep.iter().map(SecretPartitionKey::to_text).collect();
    texts.sort_unstable_by(|a, b| a.as_str().cmp(b));
    if texts.windows(2).any(|two| two[0] == two[1]) {
        return Err(usage("--keep names the same key twice"));
    }
    Ok(())
}

fn percent(chance: f64) -> String {
    let percent = 100.0 * chance;
    if percent < 0.01 { "less than 0.01 %".into() } else { format!("{percent:.2} %") }
}

fn print_key(session: &Session<'_>, key: &SecretPartitionKey) -> Result<(), Failure> {
    let text = key.to_text();
    let text = text.as_str();
    let mut output = Output::new();
    if session.json() {
        output.line(format_args!("{{\"key\":\"{text}\"}}"))?;
    } else {
        output.line(text)?;
    }
    output.finish()
}

fn destroy(session: &Session<'_>, key: &PartitionKey) -> Result<(), Failure> {
    session.expect_one_stdin(&[key.is_stdin()])?;
    let key = partition_key(key.key.as_ref(), session.notes())?;
    let vault = session.open("partition destroy")?;
    let space = vault.documents().space()?;
    let bar = session.objects_bar();
    let destroyed = space.destroy_partition_with(&key, LongCall::new().progress(&moving(&bar)));
    bar.finish_and_clear();
    destroyed?;
    session.close(vault)?;
    session.say(
        "note: the partition is destroyed; older copies of the vault's files still contain it",
    );
    if session.json() {
        print_json(&json!({ "destroyed": true }))?;
    }
    Ok(())
}

fn change_password(
    session: &Session<'_>,
    options: &PartitionOptions,
    new: &PasswordOrigin,
) -> Result<(), Failure> {
    let is_stdin = (new.is_stdin(), "the new password");
    let (vault, mut partition) =
        Opening::new(session, options, &[is_stdin])?.open(session, "partition password")?;
    let new = new.read(Prompt::NewOfPartition, session.path(), session.notes())?;
    let bar = session.spinner("{spinner} rewriting the space");
    let changed = partition.change_password(&new);
    bar.finish_and_clear();
    changed?;
    session.close(vault)?;
    session.say(
        "note: the password is changed; older copies of the vault's files still open with the old \
         one",
    );
    if session.json() {
        print_json(&json!({ "changed": true }))?;
    }
    Ok(())
}

fn verify(session: &Session<'_>, options: &PartitionOptions) -> Result<Outcome, Failure> {
    let (vault, partition) =
        Opening::new(session, options, &[])?.open(session, "partition verify")?;
    let damage = partition.verify()?;
    session.close(vault)?;
    if session.json() {
        print_json(&json!({ "ok": !damage.any(), "damage": damage_json(&damage) }))?;
    } else {
        let mut output = Output::new();
        if damage.any() {
            output.line(format_args!("damaged: {damage}"))?;
        } else {
            output.line("ok")?;
        }
        output.finish()?;
    }
    if damage.any() {
        let path = session.path().display();
        session.say(format!("hint: `strongroom doc heal {path}` repairs the document"));
        return Ok(Outcome::Problems);
    }
    Ok(Outcome::Done)
}

/// The secrets of a partition: its key, and the source of its password.
pub(crate) struct Opening {
    key: SecretPartitionKey,
    password: PasswordOrigin,
}

impl Opening {
    /// Reads the key.
    ///
    /// At most one of these secrets and `others` may come from standard input.
    pub(crate) fn new(
        session: &Session<'_>,
        options: &PartitionOptions,
        others: &[(bool, &str)],
    ) -> Result<Self, Failure> {
        let password = options.password.origin();
        let is_stdin = [options.key.is_stdin(), (password.is_stdin(), "the partition's password")];
        session.expect_one_stdin(&[&is_stdin, others].concat())?;
        let key = partition_key(options.key.key.as_ref(), session.notes())?;
        Ok(Self { key, password })
    }

    /// Opens the vault, and the partition in it.
    pub(crate) fn open(
        &self,
        session: &Session<'_>,
        purpose: &str,
    ) -> Result<(Vault, Partition), Failure> {
        let vault = session.open(purpose)?;
        let space = vault.documents().space()?;
        let password =
            self.password.read(Prompt::OldOfPartition, session.path(), session.notes())?;
        let partition = space.partition(&self.key, &password)?;
        Ok((vault, partition))
    }
}

impl PartitionPassword {
    fn origin(&self) -> PasswordOrigin {
        PasswordOrigin::of(self.partition_password_file.as_deref(), PARTITION_PASSWORD_VARIABLE)
    }
}

impl PartitionKey {
    fn is_stdin(&self) -> (bool, &'static str) {
        (self.key.as_ref().is_some_and(KeyArgument::is_stdin), "the partition's key")
    }
}

pub(crate) fn damage_json(damage: &Damage) -> Json {
    json!({
        "copies": damage.copies,
        "shares": damage.shares,
        "blocks": damage.blocks,
        "corrected": damage.corrected,
    })
}

#[cfg(test)]
mod tests {
    use super::percent;

    #[test]
    fn probability_is_printed_as_percent() {
        assert_eq!(percent(0.99981), "99.98 %");
        assert_eq!(percent(0.001_75), "0.18 %");
        assert_eq!(percent(1.0), "100.00 %");
        assert_eq!(percent(1e-9), "less than 0.01 %");
    }
}
