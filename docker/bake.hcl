# All eight images under the names that the ConfigMaps in events/ use:
#   docker buildx bake -f docker/bake.hcl              every image
#   docker buildx bake -f docker/bake.hcl save-user    one image
# Variables come from the environment.

# Another registry, such as registry.example.com/onboarding: every image is then <REGISTRY>/<IMAGE_PREFIX><program>:<TAG>.
variable "REGISTRY" {
  default = ""
}

variable "IMAGE_PREFIX" {
  default = ""
}

# Empty: none, for a push by digest.
variable "TAG" {
  default = "latest"
}

# Such as linux/amd64,linux/arm64. Empty: this machine's own.
variable "PLATFORMS" {
  default = ""
}

# The compiler's image; empty: the one that the Dockerfile pins.
variable "RUST_IMAGE" {
  default = ""
}

# Another value than the last time builds everything anew.
variable "CLEAN" {
  default = ""
}

# What the labels say.
variable "SOURCE" {
  default = "https://github.com/colinjlacy/knapscen-onboarding"
}

variable "REVISION" {
  default = "unknown"
}

variable "VERSION" {
  default = TAG
}

group "default" {
  targets = ["image"]
}

target "image" {
  name = program
  matrix = {
    program = [
      "register-corporate-customer",
      "save-customer",
      "save-user",
      "send-welcome-email",
      "notify-marketing",
      "order-swag",
      "create-touchpoints",
      "dispatcher",
    ]
  }
  context    = "."
  dockerfile = "docker/Dockerfile"
  target     = program
  platforms  = PLATFORMS == "" ? [] : split(",", PLATFORMS)
  tags       = [join(":", compact([REGISTRY == "" ? usual_name(program) : "${REGISTRY}/${IMAGE_PREFIX}${program}", TAG]))]
  args = {
    RUST_IMAGE = RUST_IMAGE == "" ? null : RUST_IMAGE
    CLEAN      = CLEAN == "" ? null : CLEAN
    SOURCE     = SOURCE
    REVISION   = REVISION
    VERSION    = VERSION
  }
}

# The first image has had its own name since before there were others.
function "usual_name" {
  params = [program]
  result = program == "register-corporate-customer" ? "ghcr.io/colinjlacy/knapscen-${program}" : "knapscen/${program}"
}
