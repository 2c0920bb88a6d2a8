//! Turns a Job into a container of the engine. Pure. The isolation settings of the Job are taken over unchanged.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig};
use k8s_openapi::api::core::v1::{Container, PodSpec};

use super::super::FailureClass;
use super::super::start_error::StartError;
use super::{Settings, quantity, volumes};
use rules::plan::{BackendKind, PlannedJob, expand, unsupported};

/// Where the termination message goes if the Job does not say. The engine has no `/dev/termination-log`, and files
/// below `/dev` are gone when the container ends.
const TERMINATION_MESSAGE: &str = "/run/termination/message";
/// The nodes of a cluster have such a limit as well. It stops a fork bomb.
const MOST_PROCESSES: i64 = 1024;
/// How much output of a container is kept: much more than is ever shown, and too little to fill a disk.
const KEPT_OUTPUT: [(&str, &str); 2] = [("max-size", "5m"), ("max-file", "2")];

/// Where a container writes its termination message: a file in a volume that outlives the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MessageFile {
    pub(super) folder: String,
    pub(super) name: String,
}

impl MessageFile {
    /// The Job's path, or our own if the engine could not keep a file there.
    pub(super) fn of(job: &PlannedJob) -> Self {
        let split = |path: &str| {
            let (folder, name) = path.rsplit_once('/')?;
            let fits = folder.starts_with('/') && folder != "/dev" && !name.is_empty();
            fits.then(|| Self { folder: folder.to_owned(), name: name.to_owned() })
        };
        split(&job.spec.termination_message_path)
            .or_else(|| split(TERMINATION_MESSAGE))
            .unwrap_or_else(|| Self { folder: "/run/termination".to_owned(), name: "message".to_owned() })
    }

    pub(super) fn path(&self) -> String {
        format!("{}/{}", self.folder, self.name)
    }
}

/// Refuses what a container of the engine cannot have.
pub(super) fn check(job: &PlannedJob) -> Result<(), StartError> {
    match unsupported(job, BackendKind::Docker).first() {
        Some(field) => Err(refused(format!("the docker backend cannot honour {field}"))),
        None => Ok(()),
    }
}

/// The container of a Job's try.
pub(super) fn plan(
    job: &PlannedJob,
    mut variables: BTreeMap<String, String>,
    labels: HashMap<String, String>,
    settings: &Settings,
) -> Result<ContainerCreateBody, StartError> {
    let spec = &job.spec;
    let message = MessageFile::of(job);
    variables.insert("TERMINATION_LOG".to_owned(), message.path());
    let expanded = |texts: &[String]| -> Option<Vec<String>> {
        let all: Vec<_> =
            texts.iter().map(|text| expand(text, |name| variables.get(name).cloned())).collect();
        Some(all).filter(|all| !all.is_empty())
    };
    let pod = volumes::pod_of(job).unwrap_or_default();
    let no_container = Container::default();
    let (pod, container) = (&pod, pod.containers.first().unwrap_or(&no_container));
    let (entrypoint, cmd) = (expanded(&spec.command), expanded(&spec.args));
    Ok(ContainerCreateBody {
        image: Some(spec.image.clone()),
        entrypoint,
        cmd,
        env: Some(variables.into_iter().map(|(name, value)| format!("{name}={value}")).collect()),
        working_dir: spec.working_dir.clone(),
        user: user(pod, container)?,
        hostname: pod.hostname.clone(),
        labels: Some(labels),
        volumes: Some(vec![message.folder.clone()]),
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }),
        host_config: Some(host(pod, container, settings)?),
        ..ContainerCreateBody::default()
    })
}

/// Whether the image's own user is used, and must not be root.
pub(super) fn trusts_image_user(job: &PlannedJob) -> bool {
    let Some(pod) = volumes::pod_of(job) else { return false };
    let Some(container) = pod.containers.first() else { return false };
    let (own, shared) = (container.security_context.as_ref(), pod.security_context.as_ref());
    let user = own.and_then(|own| own.run_as_user).or(shared.and_then(|shared| shared.run_as_user));
    user.is_none() && non_root(&pod, container)
}

fn non_root(pod: &PodSpec, container: &Container) -> bool {
    let (own, shared) = (container.security_context.as_ref(), pod.security_context.as_ref());
    own.and_then(|own| own.run_as_non_root).or(shared.and_then(|shared| shared.run_as_non_root)) == Some(true)
}

/// The user, as `user:group`; `None` is the image's user.
fn user(pod: &PodSpec, container: &Container) -> Result<Option<String>, StartError> {
    let (own, shared) = (container.security_context.as_ref(), pod.security_context.as_ref());
    let user = own.and_then(|own| own.run_as_user).or(shared.and_then(|shared| shared.run_as_user));
    let group = own.and_then(|own| own.run_as_group).or(shared.and_then(|shared| shared.run_as_group));
    match (user, group) {
        (Some(0), _) if non_root(pod, container) => {
            Err(refused("securityContext says runAsNonRoot, and runAsUser 0".to_owned()))
        }
        (Some(user), Some(group)) => Ok(Some(format!("{user}:{group}"))),
        (Some(user), None) => Ok(Some(user.to_string())),
        (None, None) => Ok(None),
        (None, Some(_)) => Err(refused("securityContext.runAsGroup needs runAsUser here".to_owned())),
    }
}

fn host(pod: &PodSpec, container: &Container, settings: &Settings) -> Result<HostConfig, StartError> {
    let own = container.security_context.as_ref();
    let capabilities = own.and_then(|own| own.capabilities.as_ref());
    let limit = |name: &str| amount(container, name, true);
    let memory = whole(limit("memory")?);
    let dns = pod.dns_config.as_ref();
    let dns_option = |option: &k8s_openapi::api::core::v1::PodDNSConfigOption| {
        let name = option.name.clone()?;
        Some(option.value.as_ref().map_or_else(|| name.clone(), |value| format!("{name}:{value}")))
    };
    let host_or = |is_host: Option<bool>| (is_host == Some(true)).then(|| "host".to_owned());
    Ok(HostConfig {
        network_mode: host_or(pod.host_network).or_else(|| settings.network.clone()),
        pid_mode: host_or(pod.host_pid),
        ipc_mode: host_or(pod.host_ipc),
        memory,
        // No swap in addition, so that the limit is exact.
        memory_swap: memory,
        memory_reservation: whole(amount(container, "memory", false)?),
        nano_cpus: whole(limit("cpu")?.map(|cpus| cpus * 1e9)),
        cpu_shares: whole(amount(container, "cpu", false)?.map(|cpus| (cpus * 1024.0).max(2.0))),
        pids_limit: Some(MOST_PROCESSES),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(KEPT_OUTPUT.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
        }),
        readonly_rootfs: own.and_then(|own| own.read_only_root_filesystem),
        privileged: own.and_then(|own| own.privileged),
        cap_add: capabilities.and_then(|capabilities| capabilities.add.clone()),
        cap_drop: capabilities.and_then(|capabilities| capabilities.drop.clone()),
        security_opt: security_options(pod, container),
        group_add: groups(pod),
        sysctls: sysctls(pod),
        tmpfs: empty_folders(pod, container)?,
        mounts: volumes::mounts(pod, container),
        extra_hosts: host_aliases(pod),
        dns: dns.and_then(|dns| dns.nameservers.clone()),
        dns_search: dns.and_then(|dns| dns.searches.clone()),
        dns_options: dns
            .and_then(|dns| dns.options.as_ref())
            .map(|all| all.iter().filter_map(dns_option).collect()),
        ..HostConfig::default()
    })
}

fn amount(container: &Container, name: &str, is_limit: bool) -> Result<Option<f64>, StartError> {
    let resources = container.resources.as_ref();
    let list = resources.and_then(|all| if is_limit { all.limits.as_ref() } else { all.requests.as_ref() });
    let Some(text) = list.and_then(|list| list.get(name)) else { return Ok(None) };
    let word = if is_limit { "limits" } else { "requests" };
    let refusal = || refused(format!("resources.{word}.{name} {:?} is no quantity", text.0));
    quantity::parse(&text.0).map(Some).ok_or_else(refusal)
}

#[expect(clippy::cast_possible_truncation, reason = "it saturates, and no machine has so much")]
fn whole(amount: Option<f64>) -> Option<i64> {
    amount.map(|amount| amount.ceil() as i64)
}

fn security_options(pod: &PodSpec, container: &Container) -> Option<Vec<String>> {
    let (own, shared) = (container.security_context.as_ref(), pod.security_context.as_ref());
    let mut options = Vec::new();
    if own.and_then(|own| own.allow_privilege_escalation) == Some(false) {
        options.push("no-new-privileges:true".to_owned());
    }
    let seccomp = own
        .and_then(|own| own.seccomp_profile.as_ref())
        .or(shared.and_then(|shared| shared.seccomp_profile.as_ref()));
    if seccomp.is_some_and(|profile| profile.type_ == "Unconfined") {
        options.push("seccomp=unconfined".to_owned());
    }
    let app_armor = own
        .and_then(|own| own.app_armor_profile.as_ref())
        .or(shared.and_then(|shared| shared.app_armor_profile.as_ref()));
    if app_armor.is_some_and(|profile| profile.type_ == "Unconfined") {
        options.push("apparmor=unconfined".to_owned());
    }
    Some(options).filter(|options| !options.is_empty())
}

fn groups(pod: &PodSpec) -> Option<Vec<String>> {
    let shared = pod.security_context.as_ref()?;
    let all: Vec<_> = shared.supplemental_groups.iter().flatten().chain(shared.fs_group.iter()).collect();
    (!all.is_empty()).then(|| all.into_iter().map(ToString::to_string).collect())
}

fn sysctls(pod: &PodSpec) -> Option<HashMap<String, String>> {
    let all = pod.security_context.as_ref()?.sysctls.as_ref()?;
    Some(all.iter().map(|one| (one.name.clone(), one.value.clone())).collect())
}

fn host_aliases(pod: &PodSpec) -> Option<Vec<String>> {
    let aliases = pod.host_aliases.as_ref()?;
    let entries = aliases
        .iter()
        .flat_map(|alias| alias.hostnames.iter().flatten().map(move |name| format!("{name}:{}", alias.ip)));
    Some(entries.collect())
}

/// Each mounted `emptyDir` is a file system in memory.
fn empty_folders(
    pod: &PodSpec,
    container: &Container,
) -> Result<Option<HashMap<String, String>>, StartError> {
    let mut folders = HashMap::new();
    for mount in container.volume_mounts.iter().flatten() {
        let volume = pod.volumes.iter().flatten().find(|volume| volume.name == mount.name);
        let Some(empty) = volume.and_then(|volume| volume.empty_dir.as_ref()) else { continue };
        let mut options = vec![if mount.read_only == Some(true) { "ro" } else { "rw" }.to_owned()];
        options.push("mode=1777".to_owned());
        if let Some(limit) = &empty.size_limit {
            let bytes = whole(quantity::parse(&limit.0))
                .ok_or_else(|| refused(format!("sizeLimit {:?} of an emptyDir is no quantity", limit.0)))?;
            options.push(format!("size={bytes}"));
        }
        folders.insert(mount.mount_path.clone(), options.join(","));
    }
    Ok(Some(folders).filter(|folders| !folders.is_empty()))
}

fn refused(message: String) -> StartError {
    StartError::Refused(FailureClass::ConfigurationError, message)
}
