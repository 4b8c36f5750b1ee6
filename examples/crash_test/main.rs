//! Tests a host's own code against power cuts, with the test kit.
//!
//! ```text
//! cargo run --release -p crash_test
//! ```
//!
//! The code under test keeps accounts whose balances must always have the same sum. Its first
//! version moves money in one transaction. The second has a bug that ordinary tests do not show: it
//! uses two. Both run on a simulated disk whose power is cut a thousand times.

use strongroom::Vault;
use strongroom::records::TypedNamespace;
use strongroom_testkit::{BoxError, CrashOptions, Scene, crash_test};

const ACCOUNTS: TypedNamespace<u8, u64> = TypedNamespace::new("accounts");
const TOTAL: u64 = 300;

/// A transfer of `amount` between two accounts.
#[derive(Clone, Copy, Debug)]
struct Transfer {
    from: u8,
    to: u8,
    amount: u64,
}

fn open_accounts(vault: &Vault) -> strongroom::Result<()> {
    vault.write(|tx| (0..3).try_for_each(|account| ACCOUNTS.insert(tx, &account, &(TOTAL / 3))))
}

fn add(vault: &Vault, account: u8, change: i64) -> strongroom::Result<()> {
    vault.write(|tx| {
        let balance = ACCOUNTS.get_in(tx, &account)?.unwrap_or(0);
        ACCOUNTS.insert(tx, &account, &balance.saturating_add_signed(change))
    })
}

/// The correct version: one transaction.
fn transfer(vault: &Vault, Transfer { from, to, amount }: Transfer) -> strongroom::Result<()> {
    vault.write(|tx| {
        let (paid, received) = (ACCOUNTS.get_in(tx, &from)?, ACCOUNTS.get_in(tx, &to)?);
        ACCOUNTS.insert(tx, &from, &(paid.unwrap_or(0) - amount))?;
        ACCOUNTS.insert(tx, &to, &(received.unwrap_or(0) + amount))
    })
}

/// The bug: two transactions, with a moment between them.
fn careless_transfer(vault: &Vault, transfer: Transfer) -> strongroom::Result<()> {
    let amount = i64::try_from(transfer.amount).expect("small amounts");
    add(vault, transfer.from, -amount)?;
    add(vault, transfer.to, amount)
}

fn work(
    transfer: fn(&Vault, Transfer) -> strongroom::Result<()>,
) -> impl Fn(&mut Scene<Option<Transfer>>) -> Result<(), BoxError> {
    move |scene| {
        scene.attempt(None, open_accounts)?;
        for n in 0..30_u8 {
            let next = Transfer { from: n % 3, to: (n + 1) % 3, amount: u64::from(n) };
            scene.attempt(Some(next), |vault| transfer(vault, next))?;
        }
        Ok(())
    }
}

/// Checks that the balances add up after any power cut.
///
/// The accounts must exist by then.
fn adds_up(
    vault: &Vault,
    done: &[Option<Transfer>],
    _under_way: &[Option<Transfer>],
) -> Result<(), BoxError> {
    let snapshot = vault.read()?;
    let balances: Vec<u64> =
        ACCOUNTS.range(&snapshot, ..)?.map(|r| Ok(r?.value)).collect::<strongroom::Result<_>>()?;
    if balances.is_empty() && done.is_empty() {
        return Ok(());
    }
    match balances.iter().sum::<u64>() {
        TOTAL => Ok(()),
        sum => Err(format!("{balances:?} add up to {sum}, not {TOTAL}").into()),
    }
}

fn main() -> Result<(), BoxError> {
    let options = CrashOptions::default();
    let right = crash_test(&options, work(transfer), adds_up);
    println!("one transaction:  {right}");
    let careless = crash_test(&options, work(careless_transfer), adds_up);
    println!("two transactions: {careless}");
    if right.failed == 0 && careless.failed > 0 {
        Ok(())
    } else {
        Err("the crash test did not detect the bug of the second version".into())
    }
}
