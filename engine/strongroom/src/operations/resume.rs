//! Resuming an operation by a callback, lane by lane.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use strongroom_base::Error;

use super::lane::Lane;
use super::room::Operations;
use super::status::{LaneStatus, OperationStatus};

impl Operations {
    /// Resumes an operation, and calls `work` for each incomplete lane.
    ///
    /// `work` receives the lane and its last checkpoint. Lanes are visited in order of their names.
    /// If `work` returns `Ok`, the lane is completed, unless `work` has completed it. The last lane
    /// completes the operation.
    ///
    /// If `work` returns an error, this try ends: the operation is failed with the error's text,
    /// and the error is returned. Lanes not reached wait for the next try. A panic fails the
    /// operation too, and then continues. Other errors are those of [`resume`](Self::resume).
    ///
    /// ```
    /// # fn main() -> strongroom::Result<()> {
    /// # let folder = tempfile::tempdir().expect("a temporary folder");
    /// # use strongroom::operations::{Checkpoint, OperationState};
    /// # use strongroom::{Batch, SecretPassword, Vault};
    /// # let path = folder.path().join("vault");
    /// # let vault = Vault::options(SecretPassword::new("correct horse battery")).create(&path)?;
    /// drop(vault.operations().begin("import-7", ["a", "b"])?); // here the process crashes
    /// let status = vault.operations().resume_with("import-7", |lane, status| {
    ///     for item in status.decode::<u32>()?.unwrap_or(0)..10 {
    ///         let mut batch = Batch::new();
    ///         batch.insert("items", format!("{} {item}", lane.name()), "done");
    ///         lane.commit(batch, Checkpoint::encode(&(item + 1))?)?;
    ///     }
    ///     Ok::<_, strongroom::Error>(())
    /// })?;
    /// assert_eq!(status.state, OperationState::Completed);
    /// # Ok(())
    /// # }
    /// ```
    pub fn resume_with<E: From<Error> + fmt::Display>(
        &self,
        id: &str,
        mut work: impl FnMut(&Lane, &LaneStatus) -> Result<(), E>,
    ) -> Result<OperationStatus, E> {
        let operation = self.resume(id)?;
        let status = operation.status()?;
        for lane in status.lanes.iter().filter(|lane| !lane.complete) {
            let handle = operation.lane(&lane.name)?;
            let outcome = match catch_unwind(AssertUnwindSafe(|| work(&handle, lane))) {
                Ok(Ok(())) if handle.status()?.complete => continue,
                Ok(Ok(())) => handle.complete().map_err(E::from),
                Ok(Err(error)) => Err(error),
                Err(panic) => {
                    // An error of `fail` is dropped: the caller must receive the panic.
                    operation.fail(panic_text(&*panic)).ok();
                    resume_unwind(panic)
                }
            };
            if let Err(error) = outcome {
                // An error of `fail` is dropped: `error` is returned. The operation then stays as
                // after a crash.
                operation.fail(&error).ok();
                return Err(error);
            }
        }
        Ok(operation.status()?)
    }
}

/// Returns the text of a panic, if its payload is a string.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    text.map_or_else(|| "panicked".into(), |text| format!("panicked: {text}"))
}
