//! `ops list`: all or unfinished operations, read and printed page by page.

use serde_json::{Value as Json, json};
use strongroom::Result as VaultResult;
use strongroom::operations::{
    OperationState, OperationStatus, OperationsQuery, UnfinishedOperation,
};

use super::{can_resume, operation_json, percent, resumable_json};
use crate::args::OperationFilter;
use crate::exit::Failure;
use crate::output::{Output, age, time};
use crate::session::{Session, usage};

/// Number of operations read at a time, with all their lanes.
const OPERATIONS_PER_PAGE: usize = 32;

pub(super) fn run(session: &Session<'_>, which: &OperationFilter) -> Result<(), Failure> {
    if which.unfinished
        && let Some(state) = which.states.iter().find(|state| state.is_finished())
    {
        return Err(usage(format!("--unfinished excludes operations in the state {state}")));
    }
    let vault = session.open("ops list")?;
    if which.unfinished {
        print(session, which, |after, limit| {
            vault.operations().unfinished(&OperationsQuery::new().after(after).limit(limit))
        })?;
    } else {
        let snapshot = vault.read()?;
        print(session, which, |after, limit| {
            snapshot.operations(&OperationsQuery::new().after(after).limit(limit))
        })?;
    }
    session.close(vault)
}

/// Prints a line or JSON piece for each operation as it is read.
fn print<R: ListRow>(
    session: &Session<'_>,
    which: &OperationFilter,
    mut read: impl FnMut(Option<&str>, usize) -> VaultResult<Vec<R>>,
) -> Result<(), Failure> {
    let mut output = Output::new();
    if session.json() {
        output.piece("{\"operations\":[")?;
    }
    let mut after = which.after.clone();
    let mut listed = 0;
    let more = 'pages: loop {
        let page = read(after.as_deref(), OPERATIONS_PER_PAGE)?;
        for row in page.iter().filter(|row| is_asked_for(which, row.state())) {
            if which.limit == Some(listed) {
                break 'pages true;
            }
            if session.json() {
                let comma = if listed == 0 { "" } else { "," };
                output.piece(format_args!("{comma}{}", row.json()))?;
            } else {
                output.line(row.text())?;
            }
            listed += 1;
        }
        if page.len() < OPERATIONS_PER_PAGE {
            break false;
        }
        after = page.last().map(|row| row.id().to_owned());
    };
    if session.json() {
        output.line(format_args!("],\"more\":{more}}}"))?;
    }
    output.finish()
}

fn is_asked_for(which: &OperationFilter, state: Option<OperationState>) -> bool {
    which.states.is_empty() || state.is_some_and(|state| which.states.contains(&state))
}

/// A row of a list.
trait ListRow {
    fn id(&self) -> &str;
    /// Returns the state, or `None` for an unreadable operation.
    fn state(&self) -> Option<OperationState>;
    fn text(&self) -> String;
    fn json(&self) -> Json;
}

impl ListRow for OperationStatus {
    fn id(&self) -> &str {
        &self.id
    }

    fn state(&self) -> Option<OperationState> {
        Some(self.state)
    }

    fn text(&self) -> String {
        format!(
            "{}\t{}\t{}\t{}/{} lanes\t{}\t{}",
            self.id,
            self.state,
            percent(self.progress()),
            self.lanes_complete(),
            self.lanes.len(),
            time(self.updated_unix_millis),
            self.name
        )
    }

    fn json(&self) -> Json {
        operation_json(self)
    }
}

impl ListRow for UnfinishedOperation {
    fn id(&self) -> &str {
        &self.id
    }

    fn state(&self) -> Option<OperationState> {
        self.state
    }

    fn text(&self) -> String {
        format!(
            "{}\t{}\t{}\t{}/{} lanes\t{}\t{} attempts\t{}\t{}\t{}",
            self.id,
            self.state.map_or_else(|| "-".to_owned(), |state| state.to_string()),
            percent(self.progress),
            self.lanes_complete,
            self.lanes,
            age(self.age),
            self.attempts,
            can_resume(&self.resumable),
            self.resumable,
            self.name
        )
    }

    fn json(&self) -> Json {
        json!({
            "id": self.id,
            "name": self.name,
            "state": self.state.map(|state| state.to_string()),
            "progress": self.progress,
            "lanes_total": self.lanes,
            "lanes_complete": self.lanes_complete,
            "version": self.version,
            "attempts": self.attempts,
            "age_millis": u64::try_from(self.age.as_millis()).unwrap_or(u64::MAX),
            "resumable": resumable_json(&self.resumable),
        })
    }
}
