//! `space`: creates and inspects the share space of a vault.
//!
//! These commands need no key or password of a partition, and their output does not depend on one.

use serde_json::{Value as Json, json};
use strongroom::documents::{SpaceInfo, SpaceOptions, UnfinishedUpdate};
use strongroom::keys::PasswordCosts;
use strongroom::{Error, ErrorKind, LongCall};

use crate::args::{Costs, Spaces};
use crate::exit::{Failure, Outcome};
use crate::keys::costs_text;
use crate::output::{Output, print_json, time};
use crate::session::{Session, moving};

pub(crate) fn run(session: &Session<'_>, command: &Spaces) -> Result<Outcome, Failure> {
    match command {
        Spaces::Create { capacity, threshold, shares, room_for, costs, .. } => {
            let shares = (threshold.unwrap_or(THRESHOLD), shares.unwrap_or(SHARES));
            create(session, options(*capacity, shares, *room_for, costs))?;
        }
        Spaces::Info { .. } => info(session)?,
        Spaces::Discard { .. } => discard(session)?,
    }
    Ok(Outcome::Done)
}

/// Default number of shares that restore a piece; the same as the engine's.
const THRESHOLD: u8 = 3;
/// Default number of stored shares of a piece; the same as the engine's.
const SHARES: u8 = 9;

fn options(
    capacity: Option<u32>,
    (threshold, shares): (u8, u8),
    room_for: Option<u8>,
    costs: &Costs,
) -> SpaceOptions {
    let options = SpaceOptions::default().shares(threshold, shares).password_costs(costs.costs());
    let options = match capacity {
        Some(capacity) => options.capacity_bytes(capacity),
        None => options,
    };
    match room_for {
        Some(partitions) => options.room_for(partitions),
        None => options,
    }
}

fn create(session: &Session<'_>, options: SpaceOptions) -> Result<(), Failure> {
    let vault = session.open("space create")?;
    let bar = session.objects_bar();
    let space =
        vault.documents().create_space_with(&options, LongCall::new().progress(&moving(&bar)));
    bar.finish_and_clear();
    let info = space?.info()?;
    session.close(vault)?;
    if session.json() {
        return print_json(&info_json(&info));
    }
    let mut output = Output::new();
    let path = session.path().display();
    output.line(format_args!("space {} of {} bytes created in {path}", info.id, info.bytes))?;
    output.finish()
}

fn info(session: &Session<'_>) -> Result<(), Failure> {
    let vault = session.open("space info")?;
    let info = vault.documents().space()?.info()?;
    session.close(vault)?;
    if session.json() {
        return print_json(&info_json(&info));
    }
    let mut output = Output::new();
    output.line(format_args!("space       {}", info.id))?;
    output.line(format_args!("capacity    {} bytes", info.capacity_bytes))?;
    output.line(format_args!("shares      {} of {}", info.threshold, info.shares))?;
    output.line(format_args!("room        {} partitions", info.partitions))?;
    output.line(format_args!("passwords   {}", costs_text(info.costs)))?;
    output.line(format_args!("size        {} bytes", info.bytes))?;
    output.line(format_args!("created     {}", time(info.created_unix_millis)))?;
    match info.updated_unix_millis {
        Some(updated) => output.line(format_args!("updated     {}", time(updated)))?,
        None => output.line("updated     never")?,
    }
    match info.unfinished {
        Some(UnfinishedUpdate { since_unix_millis, objects_done, objects, .. }) => {
            let since = time(since_unix_millis);
            output.line(format_args!(
                "unfinished  an update, {objects_done} of {objects} objects, since {since}"
            ))?;
        }
        None => output.line("unfinished  none")?,
    }
    output.finish()
}

fn discard(session: &Session<'_>) -> Result<(), Failure> {
    let vault = session.open("space discard")?;
    let discarded = vault.documents().space()?.discard_unfinished()?;
    session.close(vault)?;
    if !discarded {
        return Err(Error::new(ErrorKind::NotFound, "discard update")
            .with_detail("the space has no interrupted update")
            .into());
    }
    if session.json() {
        print_json(&json!({ "discarded": true }))?;
    }
    Ok(())
}

fn info_json(info: &SpaceInfo) -> Json {
    let PasswordCosts { memory_kib, passes, lanes } = info.costs;
    let unfinished = info.unfinished.map(|update| {
        json!({
            "since_unix_millis": update.since_unix_millis,
            "objects_done": update.objects_done,
            "objects": update.objects,
        })
    });
    json!({
        "id": info.id.to_string(),
        "capacity_bytes": info.capacity_bytes,
        "threshold": info.threshold,
        "shares": info.shares,
        "room_for": info.partitions,
        "memory_kib": memory_kib,
        "passes": passes,
        "lanes": lanes,
        "bytes": info.bytes,
        "created_unix_millis": info.created_unix_millis,
        "updated_unix_millis": info.updated_unix_millis,
        "unfinished": unfinished,
    })
}
