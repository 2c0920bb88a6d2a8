//! Secrets and `ConfigMap`s as files. Each mount is a volume of its own, filled before the container starts, and
//! removed with it.
//!
//! Nothing of the dispatcher's own file system is mounted, because the engine may be on another machine. The files
//! belong to root, so the container's user can read but not change them.

use std::collections::BTreeSet;

use bollard::models::{Mount, MountType, MountVolumeOptions};
use bollard::query_parameters::UploadToContainerOptionsBuilder;
use bytes::Bytes;
use k8s_openapi::api::core::v1::{Container, KeyToPath, PodSpec, Volume};

use super::super::FailureClass;
use super::super::environment::Files;
use super::super::secret::Kind;
use super::super::secret::{Content, Sources};
use super::super::start_error::StartError;
use super::client::{Client, Trouble};
use rules::plan::PlannedJob;

/// The mode that Kubernetes gives files if the Job does not say.
const USUAL_MODE: i32 = 0o644;

/// The contents of one mount.
pub(super) struct Filling {
    path: String,
    archive: Vec<u8>,
}

/// The volumes of a container that must be filled.
pub(super) fn mounts(pod: &PodSpec, container: &Container) -> Option<Vec<Mount>> {
    let mount = |path: &str| Mount {
        target: Some(path.to_owned()),
        typ: Some(MountType::VOLUME),
        // This hides what the image has there, like any mount.
        volume_options: Some(MountVolumeOptions { no_copy: Some(true), ..MountVolumeOptions::default() }),
        ..Mount::default()
    };
    let all: Vec<_> = filled(pod, container).map(|(path, _)| mount(path)).collect();
    Some(all).filter(|all| !all.is_empty())
}

/// The files that go into them.
pub(super) fn of(job: &PlannedJob, sources: &Sources) -> Result<Vec<Filling>, StartError> {
    let Some(pod) = pod_of(job) else { return Ok(Vec::new()) };
    let Some(container) = pod.containers.first() else { return Ok(Vec::new()) };
    let group = pod.security_context.as_ref().and_then(|shared| shared.fs_group);
    let mut files = Files::new(sources);
    let filling = |(path, volume): (&str, &Volume)| {
        archive(volume, group, &mut files).map(|archive| Filling { path: path.to_owned(), archive })
    };
    filled(&pod, container).map(filling).collect()
}

/// Copies all files into a container that has not started.
pub(super) async fn fill(client: &Client, id: &str, fillings: Vec<Filling>) -> Result<(), Trouble> {
    for Filling { path, archive } in fillings {
        let options = UploadToContainerOptionsBuilder::new().path(&path).build();
        let body = bollard::body_full(Bytes::from(archive));
        client.settle(client.engine().await?.upload_to_container(id, Some(options), body)).await?;
    }
    Ok(())
}

fn filled<'a>(pod: &'a PodSpec, container: &'a Container) -> impl Iterator<Item = (&'a str, &'a Volume)> {
    container.volume_mounts.iter().flatten().filter_map(|mount| {
        let volume = pod.volumes.iter().flatten().find(|volume| volume.name == mount.name)?;
        (volume.secret.is_some() || volume.config_map.is_some())
            .then_some((mount.mount_path.as_str(), volume))
    })
}

fn archive(volume: &Volume, group: Option<i64>, files: &mut Files) -> Result<Vec<u8>, StartError> {
    let (kind, name, items, mode, optional) = match (&volume.secret, &volume.config_map) {
        (Some(secret), _) => {
            let name = secret.secret_name.as_deref().unwrap_or_default();
            (Kind::Secret, name, &secret.items, secret.default_mode, secret.optional)
        }
        (None, Some(map)) => (Kind::ConfigMap, map.name.as_str(), &map.items, map.default_mode, map.optional),
        (None, None) => return Ok(Vec::new()),
    };
    let optional = optional == Some(true);
    let mut archive = Archive { group, folders: BTreeSet::new(), files: tar::Builder::new(Vec::new()) };
    if let Some(content) = files.content(kind, name, optional)? {
        let mode = mode.unwrap_or(USUAL_MODE);
        match items {
            None => content.iter().try_for_each(|(key, value)| archive.add(key, value, mode)),
            Some(items) => items.iter().try_for_each(|item| {
                let Some(value) = value_of(content, item, kind, name, optional)? else { return Ok(()) };
                archive.add(&item.path, value, item.mode.unwrap_or(mode))
            }),
        }?;
    }
    archive.files.into_inner().map_err(|error| refused(format!("volume {}: {error}", volume.name)))
}

fn value_of<'a>(
    content: &'a Content,
    item: &KeyToPath,
    kind: Kind,
    name: &str,
    optional: bool,
) -> Result<Option<&'a [u8]>, StartError> {
    match content.get(&item.key) {
        Some(value) => Ok(Some(value)),
        None if optional => Ok(None),
        None => Err(refused(format!("the {} {name} has no key {}", kind.words().0, item.key))),
    }
}

struct Archive {
    /// `fsGroup`: this group may read every file.
    group: Option<i64>,
    folders: BTreeSet<String>,
    files: tar::Builder<Vec<u8>>,
}

impl Archive {
    fn add(&mut self, path: &str, content: &[u8], mode: i32) -> Result<(), StartError> {
        let is_inside = path.split('/').all(|part| !matches!(part, "" | "." | ".."));
        if !is_inside {
            return Err(refused(format!("{path:?} is no path inside a volume")));
        }
        for (end, _) in path.match_indices('/') {
            let folder = format!("{}/", &path[..end]);
            if self.folders.insert(folder.clone()) {
                let mut header = tar::Header::new_gnu();
                header.set_entry_type(tar::EntryType::Directory);
                self.append(header, &folder, &[], 0o755)?;
            }
        }
        self.append(tar::Header::new_gnu(), path, content, mode)
    }

    fn append(
        &mut self,
        mut header: tar::Header,
        path: &str,
        content: &[u8],
        mode: i32,
    ) -> Result<(), StartError> {
        let group = self.group.and_then(|group| u64::try_from(group).ok());
        let mode = u32::try_from(mode).unwrap_or_default() | if group.is_some() { 0o440 } else { 0 };
        header.set_mode(mode & 0o777);
        header.set_gid(group.unwrap_or(0));
        header.set_size(content.len() as u64);
        let appended = self.files.append_data(&mut header, path, content);
        appended.map_err(|error| refused(format!("{path:?} cannot be a file in a volume: {error}")))
    }
}

fn refused(message: String) -> StartError {
    StartError::Refused(FailureClass::ConfigurationError, message)
}

/// The Job's Pod.
pub(super) fn pod_of(job: &PlannedJob) -> Option<PodSpec> {
    job.manifest.typed().spec?.template.spec
}
