//! The termination message of a container, from the volume that outlives it, and its output.

use std::io::Read;

use bollard::errors::Error as Failure;
use bollard::query_parameters::{
    ContainerArchiveInfoOptionsBuilder, DownloadFromContainerOptionsBuilder, LogsOptionsBuilder,
    UploadToContainerOptionsBuilder,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use super::super::{MAX_LOGS, Report};
use super::client::{Client, Trouble};
use super::container::MessageFile;
use job::MAX_TERMINATION_MESSAGE;

/// The size of an archive with one small file. Anything longer is cut.
const MAX_ARCHIVE: usize = MAX_TERMINATION_MESSAGE + 4096;

/// What an ended container reported. If it is gone or reported nothing, the report is empty.
pub(super) async fn report(client: &Client, id: &str, file: &MessageFile) -> Result<Report, Trouble> {
    let message = or_nothing(message(client, id, file).await)?;
    let output = if message.trim().is_empty() {
        // The engine's log may have split a line.
        or_nothing(tail(client, id, "16").await)?
    } else {
        String::new()
    };
    Ok(Report::from_end(&message, &output))
}

/// An engine that refuses has no text for us; only one that does not answer is asked again.
fn or_nothing(text: Result<String, Trouble>) -> Result<String, Trouble> {
    match text {
        Ok(text) => Ok(text),
        Err(Trouble::Away) => Err(Trouble::Away),
        Err(_) => Ok(String::new()),
    }
}

async fn message(client: &Client, id: &str, file: &MessageFile) -> Result<String, Trouble> {
    let options = DownloadFromContainerOptionsBuilder::new().path(&file.path()).build();
    let engine = client.engine().await?;
    let archive = client.settle(read(engine.download_from_container(id, Some(options)), End::First)).await?;
    let mut bytes = Vec::new();
    let mut archive = tar::Archive::new(archive.as_slice());
    let first = archive.entries().ok().and_then(|mut entries| entries.next()?.ok());
    if let Some(entry) = first {
        let limit = MAX_TERMINATION_MESSAGE as u64;
        // Reading a file longer than the limit ends with an error, after as much as was asked for.
        let _cut_short = entry.take(limit).read_to_end(&mut bytes);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last lines of the output, at most [`MAX_LOGS`] bytes.
pub(super) async fn tail(client: &Client, id: &str, lines: &str) -> Result<String, Trouble> {
    let options = LogsOptionsBuilder::new().stdout(true).stderr(true).tail(lines).build();
    let engine = client.engine().await?;
    let output =
        engine.logs(id, Some(options)).map(|piece| piece.map(bollard::container::LogOutput::into_bytes));
    let bytes = client.settle(read(output, End::Last)).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Which end of a long text is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    First,
    Last,
}

async fn read(pieces: impl Stream<Item = Result<Bytes, Failure>>, kept: End) -> Result<Vec<u8>, Failure> {
    let most = usize::try_from(MAX_LOGS).unwrap_or(usize::MAX);
    let mut pieces = std::pin::pin!(pieces);
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.next().await {
        bytes.extend_from_slice(&piece?);
        match kept {
            End::First if bytes.len() >= MAX_ARCHIVE => break,
            End::Last if bytes.len() > 2 * most => drop(bytes.drain(..bytes.len() - most)),
            _ => {}
        }
    }
    if kept == End::Last && bytes.len() > most {
        bytes.drain(..bytes.len() - most);
    }
    Ok(bytes)
}

/// Creates an empty file for the termination message in a container that has not started, because its user may not be
/// able to create one. An existing file stays: if another dispatcher was quicker, the container may have written to
/// it. If the engine does not allow this, the last line of the output is used instead.
pub(super) async fn prepare(client: &Client, id: &str, file: &MessageFile) -> Result<(), Trouble> {
    let known = ContainerArchiveInfoOptionsBuilder::new().path(&file.path()).build();
    match client.settle(client.engine().await?.get_container_archive_info(id, Some(known))).await {
        Ok(_) => return Ok(()),
        Err(Trouble::Away) => return Err(Trouble::Away),
        Err(_) => {}
    }
    let options = UploadToContainerOptionsBuilder::new().path(&file.folder).build();
    let engine = client.engine().await?;
    let body = bollard::body_full(Bytes::from(empty_file(&file.name)));
    match client.settle(engine.upload_to_container(id, Some(options), body)).await {
        Ok(()) | Err(Trouble::Missing(_)) => Ok(()),
        Err(Trouble::Away) => Err(Trouble::Away),
        Err(trouble) => {
            tracing::debug!(reason = %trouble, "no file for the termination message");
            Ok(())
        }
    }
}

/// An archive with one empty file that everybody may write.
fn empty_file(name: &str) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_size(0);
    header.set_mode(0o666);
    let mut archive = tar::Builder::new(Vec::new());
    // In memory, only a name that is too long can fail. Then there is no file, and the last line of the output
    // counts.
    let _no_file = archive.append_data(&mut header, name, std::io::empty());
    archive.into_inner().unwrap_or_default()
}
