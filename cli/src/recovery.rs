//! Report of the repairs that opening a vault made.

use std::fmt;

use serde_json::{Value as Json, json};
use strongroom::operations::{OperationsQuery, UnfinishedOperation};
use strongroom::vault::Recovery;
use strongroom::{Error, Vault};

use crate::exit::Failure;
use crate::session::Notes;

/// Prints the recovery to standard error: as a note if no action is needed, else as a warning.
pub(crate) fn report(notes: Notes, recovery: &Recovery) {
    if let Some(holder) = &recovery.died {
        notes.say(format!("note: the last process ended without closing the vault: {holder}"));
    }
    let done = done(recovery);
    if !done.is_empty() {
        notes.say(format!("note: recovered: {}", done.join(", ")));
    }
    if let Some(update) = &recovery.space_update {
        notes.say(format!(
            "note: an update of the share space was interrupted, with {} of {} objects done: the \
             same `strongroom doc write` goes on with it, `strongroom space discard` takes it back",
            update.objects_done, update.objects
        ));
    }
    if recovery.died.is_some() && !recovery.operations.is_empty() {
        notes.say(format!("note: {}", unfinished_note(&recovery.operations)));
    }
    if recovery.last_commit_may_be_missing {
        notes.say(
            "warning: the last commit may be missing; unless the power was cut during it, the \
             file was damaged: look at the medium, and run `strongroom check`",
        );
    }
    if let Some(taken_over) = &recovery.taken_over {
        let from = taken_over.from.as_ref().map(|holder| format!(" from {holder}"));
        notes.say(format!(
            "warning: the content was taken over{}; deletion is paused for a day",
            from.unwrap_or_default()
        ));
    }
    if recovery.key_set_restored {
        notes.say(
            "warning: the key set was restored from its copy; keys that were removed since that \
             copy open the vault again: see `strongroom keys list`",
        );
    }
    if let Some(ahead) = recovery.key_copy_ahead {
        notes.say(format!(
            "warning: an older state file was put back (the key set on the backend has generation \
             {ahead}); it can be read, and is not written without --adopt"
        ));
    }
    if recovery.key_copy_unverified {
        notes.say(
            "warning: the copy of the key set on the backend is missing, damaged or not of this \
             key set, so this state may be an older one; it can be read, and is not written \
             without --adopt",
        );
    }
    if let Some(error) = &recovery.key_copy_error {
        notes.say(format!("warning: the copy of the key set could not be updated: {error}"));
    }
    if let Some(error) = &recovery.clean_up_error {
        notes.say(format!("warning: clean-up not finished: {error}"));
    }
}

/// Formats the unfinished operations. Printed only after a crash, since a closed vault had them
/// before.
fn unfinished_note(listed: &[UnfinishedOperation]) -> String {
    let first = if listed.len() < Recovery::OPERATIONS_LISTED_MAX { "" } else { "the first " };
    let unfinished = Unfinished::default().and(listed);
    format!("operations: {first}{unfinished}; see `strongroom ops list --unfinished`")
}

/// Number of unfinished operations.
#[derive(Clone, Copy, Default)]
pub(crate) struct Unfinished {
    pub(crate) operations: u64,
    /// Number of these that can be resumed, by their ids at least.
    pub(crate) resumable: u64,
}

impl Unfinished {
    /// Counts all unfinished operations.
    ///
    /// It includes those beyond the limit of the recovery report.
    pub(crate) fn of(vault: &Vault) -> Result<Self, Failure> {
        const PAGE: usize = Recovery::OPERATIONS_LISTED_MAX;
        let mut page = vault.recovery().operations.clone();
        let mut count = Self::default().and(&page);
        while page.len() == PAGE {
            page = vault.operations().unfinished(
                &OperationsQuery::new().after(page.last().map(|last| last.id.as_str())).limit(PAGE),
            )?;
            count = count.and(&page);
        }
        Ok(count)
    }

    fn and(self, more: &[UnfinishedOperation]) -> Self {
        let resumable = more.iter().filter(|operation| operation.resumable.by_id()).count();
        Self {
            operations: self.operations + more.len() as u64,
            resumable: self.resumable + resumable as u64,
        }
    }
}

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operations, resumable } = *self;
        let not = operations - resumable;
        write!(f, "{operations} unfinished ({resumable} can be resumed, {not} cannot)")
    }
}

fn done(recovery: &Recovery) -> Vec<String> {
    let mut done = Vec::new();
    let mut add = |happened: bool, what: &str| {
        if happened {
            done.push(what.to_owned());
        }
    };
    add(recovery.state_repaired, "state repaired");
    add(recovery.header_repaired, "damaged copy of the header rewritten");
    add(recovery.key_copy_written, "copy of the key set written");
    add(recovery.unfinished_state, "unfinished state discarded");
    let mut count = |number: u64, what: &str| {
        if number > 0 {
            done.push(format!("{what}: {number}"));
        }
    };
    count(recovery.torn_blocks, "torn blocks outside commits");
    count(recovery.temporaries, "temporary files removed");
    count(recovery.objects, "leftover objects removed");
    done
}

/// Returns the recovery as JSON, without the operations, which `ops list` shows.
pub(crate) fn recovery_json(recovery: &Recovery) -> Json {
    let error = |error: &Option<Error>| error.as_ref().map(Error::to_string);
    json!({
        "was_clean": recovery.was_clean(),
        "died": recovery.died.as_ref().map(ToString::to_string),
        "state_repaired": recovery.state_repaired,
        "last_commit_may_be_missing": recovery.last_commit_may_be_missing,
        "torn_blocks": recovery.torn_blocks,
        "header_repaired": recovery.header_repaired,
        "key_set_restored": recovery.key_set_restored,
        "key_copy_written": recovery.key_copy_written,
        "key_copy_ahead": recovery.key_copy_ahead,
        "key_copy_unverified": recovery.key_copy_unverified,
        "taken_over": recovery.taken_over.as_ref().map(|taken_over| json!({
            "from": taken_over.from.as_ref().map(ToString::to_string),
            "deletes_from_unix_millis": taken_over.deletes_from_unix_millis,
        })),
        "key_copy_error": error(&recovery.key_copy_error),
        "unfinished_state": recovery.unfinished_state,
        "temporaries": recovery.temporaries,
        "objects": recovery.objects,
        "clean_up_error": error(&recovery.clean_up_error),
    })
}
